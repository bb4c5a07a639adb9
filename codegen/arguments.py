"""The command line: which commands there are and what they take."""

import argparse
from typing import Any

from codegen import __version__

_COMMON = {
    "--root": {
        "metavar": "DIR",
        "help": "root of the tree (default: the nearest with specs/ and pyproject.toml or .git)",
    },
    "--json": {"action": "store_true", "dest": "as_json", "help": "report as JSON on stdout"},
    "--no-cache": {"action": "store_true", "help": "trust nothing that an earlier run remembered"},
}


def parser() -> argparse.ArgumentParser:
    """The parser; the namespace that it makes has `command` and the options by name."""
    top = argparse.ArgumentParser(prog="codegen", description="Generate model architectures from specs.")
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *common: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        for option in ("--root", *common):
            settings: dict[str, Any] = _COMMON[option]
            added.add_argument(option, **settings)
        return added

    init = command("init", "Begin in a repository: its table in pyproject.toml, a first spec, the hook.", "--json")
    init.add_argument("--package", help="where models will live (default: models, in the package of the folder's name)")
    init.add_argument("--layout", choices=["nemo_automodel"], help="for a tree that has the hand-written library")
    init.add_argument("--specs", default="specs", metavar="DIR", help="folder of specs (default: specs)")
    apply = command("apply", "Write what the specs say: all of it or nothing.", "--json", "--no-cache")
    apply.add_argument("--exit-non-zero-on-change", action="store_true", help="exit with 1 if anything was written")
    command("check", "Say whether the tree is what the specs say; write nothing.", "--json", "--no-cache")
    command("diff", "Show what `apply` would change, as a patch; write nothing.", "--json", "--no-cache")
    listing = command("list", "List the specs, what each generates and what of it is proven.", "--json")
    listing.add_argument("--missing", action="store_true", help="list what transformers has and no spec generates")
    listing.add_argument(
        "--write", action="store_true", help="write docs/model-coverage/coverage.md, print nothing of it"
    )
    explain = command("explain", "Say what a field of a spec generates, and where.", "--json")
    explain.add_argument("name", help="name of a spec")
    explain.add_argument("field", nargs="?", help="dotted field, such as attention.kind (default: all)")
    explain.add_argument("--graph", action="store_true", help="draw the model as a Mermaid flowchart instead")
    reviewed = command(
        "review", "Say in Markdown what a change of specs changes in the models.", "--json", "--no-cache"
    )
    reviewed.add_argument(
        "--base", metavar="REV", help="commit to compare with (default: where this left the default branch)"
    )
    schema = command("schema", "Print the JSON Schema of specs.")
    schema.add_argument("--write", action="store_true", help="write specs/spec.schema.json, print nothing of it")
    new = command("new", "Find the spec of a model, proven beside transformers' class, or draft it.", "--json")
    new.add_argument("path", nargs="?", help="a config.json, the folder of a checkpoint, or a model type")
    new.add_argument("--name", help="name of the spec (default: the checkpoint's model type)")
    new.add_argument("--draft", action="store_true", help="only draft: uncertain choices are marked, nothing is proven")
    new.add_argument("--text", action="store_true", help="of a vision-language model, a draft of its text alone")
    new.add_argument("--stdout", action="store_true", help="print the spec, write nothing")
    new.add_argument("--missing", action="store_true", help="every model type of transformers that no spec generates")
    new.add_argument("--seconds", type=float, help="how long to search, for each (default: 120)")
    new.add_argument("--explain", action="store_true", help="say what the search changed, and what showed it")
    eject = command("eject", "Hand the generated files of a model over to you.", "--json")
    eject.add_argument("name", help="name of a spec")
    parity = command("parity", "Prove a generated model equal to its reference.", "--json")
    parity.add_argument("names", nargs="*", metavar="name", help="names of specs")
    parity.add_argument("--all", action="store_true", help="every spec of the tree")
    parity.add_argument("--workers", metavar="N", help="families at a time, of several (default: 1)")
    parity.add_argument(
        "--checkpoint", metavar="DIR", help="a checkpoint to prove against (default: a tiny random one)"
    )
    parity.add_argument("--record", action="store_true", help="keep what was proven, for `codegen list`")
    parity.add_argument("--sensitivity", action="store_true", help="flip every value of the spec")
    return top
