"""The command line of a recipe, for one process and for what starts several."""

import argparse
from collections.abc import Sequence


def parser(
    prog: str, description: str | None, parents: Sequence[argparse.ArgumentParser] = ()
) -> argparse.ArgumentParser:
    """`parse_intermixed_args` of it gives recipe, overrides, resume, dataset_module and trust_remote_code."""
    made = argparse.ArgumentParser(prog, description=description, parents=parents, allow_abbrev=False)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("recipe", help="the example YAML")
    made.add_argument("overrides", nargs="*", help="dotted.key=value, read as YAML")
    made.add_argument("--resume", action="store_true", help="go on from the last checkpoint in trainer.output_dir")
    made.add_argument(
        "--dataset-module",
        action="append",
        default=[],
        metavar="MODULE",
        help="allow data set classes that this module of yours defines; may be repeated",
    )
    made.add_argument("--trust-remote-code", action="store_true", help="run Python files that come with a checkpoint")
    return made
