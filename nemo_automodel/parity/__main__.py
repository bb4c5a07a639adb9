"""`python -m nemo_automodel.parity NAME ...`: does a generated model equal its reference?

Exit codes: 0 everything within its bounds (every mutation caught, refused or excused), 1 something differs, 2 the
spec is invalid, the command is or the checkpoint is, 3 the proof of one of several ended with an error of its own, 4
the family is newer than the installed transformers.
"""

import argparse
import logging
import sys
from pathlib import Path

from codegen.errors import CodegenError
from codegen.places import places
from nemo_automodel.parity.checkpoint_faults import CheckpointError
from nemo_automodel.parity.newer import NewerFamily


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.record and (options.checkpoint or options.sensitivity):
        _parser().error("--record keeps the proof on random weights: leave --checkpoint and --sensitivity out")
    names = options.names or sorted(path.stem for path in _specs(options.root) if options.all)
    if len(names) != 1:
        return _many(names, options)
    (options.name,) = names
    try:
        return _sensitivity(options) if options.sensitivity else _proof(options)
    except NewerFamily as error:
        print(error, file=sys.stderr)
        return 4
    except (CodegenError, CheckpointError, OSError, LookupError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="codegen parity", description="Compare a generated model with its reference.")
    parser.add_argument("names", nargs="*", metavar="name", help="names of specs: specs/<name>.yaml")
    parser.add_argument("--all", action="store_true", help="every spec of the tree")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="families at a time, of several (default: 1)"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="weights to compare with, in place of random ones"
    )
    parser.add_argument("--sensitivity", action="store_true", help="mutate the spec: is every mutation noticed?")
    parser.add_argument("--record", action="store_true", help="keep what was proven in docs/model-coverage/proofs.json")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--root", type=Path, default=Path(), help="the tree that holds specs/ (default: here)")
    return parser


def _specs(root: Path) -> list[Path]:
    return list((root / places(str(root.resolve())).specs).glob("*.yaml"))


def _many(names: list[str], options: argparse.Namespace) -> int:
    """Each by itself, in a few processes, so that torch and transformers are imported once in each."""
    from nemo_automodel.parity.__main__ import main as one  # as processes of a pool find it, whatever `main` is here
    from nemo_automodel.parity.many import run_many

    if not names or options.checkpoint or options.json or options.workers < 1:
        _parser().error("name specs, or --all; --checkpoint and --json go with one of them, --workers is 1 or more")
    rest = ["--root", str(options.root)] + ["--sensitivity"] * options.sensitivity + ["--record"] * options.record
    return run_many(one, names, rest, options.workers)


def _proof(options: argparse.Namespace) -> int:
    from rich.console import Console

    from nemo_automodel.parity import proof, report
    from nemo_automodel.parity.project import open_project
    from nemo_automodel.parity.record import record

    quiet()
    project = open_project(options.name, options.root)
    if options.checkpoint:
        results = list(proof.prove_checkpoint(project, options.checkpoint, show_progress))
    else:
        results = list(proof.prove(project, show_progress))
    show_progress("")
    if options.json:
        print(report.proof_json(options.name, results))
    else:
        report.print_proof(options.name, results, Console())
    passed = all(result.passed for result in results)
    if passed and options.record:
        record(project.root, options.name, results)
    return 0 if passed else 1


def _sensitivity(options: argparse.Namespace) -> int:
    from rich.console import Console

    from nemo_automodel.parity import report, sensitivity
    from nemo_automodel.parity.project import open_project

    quiet()
    project = open_project(options.name, options.root)
    verdicts = list(sensitivity.judge_all(project, show_progress))
    show_progress("")
    if options.json:
        print(report.sensitivity_json(options.name, verdicts))
    else:
        report.print_sensitivity(options.name, verdicts, Console())
    return 1 if report.unexplained(verdicts) else 0


def show_progress(step: str) -> None:
    """One line on a terminal's stderr, rewritten with each step."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{step}", end="", file=sys.stderr, flush=True)


def quiet() -> None:
    """transformers' own progress bars and advice would bury the table."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main())
