"""`python -m nemo_automodel.parity.infer PATH`: exit codes: 0 proven, 1 not, 2 nothing to search with, UNPROVABLE
nothing to prove it by."""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from codegen.errors import UNPROVABLE, CodegenError, NoReferenceError
from codegen.new import refuse_existing
from codegen.write.single import write_files
from nemo_automodel.parity.__main__ import quiet, show_progress

if TYPE_CHECKING:
    from nemo_automodel.parity.infer.start import Start


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.missing == (options.path is not None):
        _parser().error("name a path or a model type, or give --missing")
    try:
        return _missing(options) if options.missing else _run(options)
    except NoReferenceError as error:
        print(f"{error}; this is a draft", file=sys.stderr)
        return UNPROVABLE
    except (CodegenError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="codegen new", description="Find a spec by trial, and prove it.")
    parser.add_argument(
        "path", nargs="?", help="a config.json, the folder of a checkpoint, or a model type of transformers"
    )
    parser.add_argument("--missing", action="store_true", help="in place of a path: every type that no spec generates")
    parser.add_argument("--root", type=Path, default=Path(), help="the tree that holds specs/ (default: here)")
    parser.add_argument("--name", help="name of the spec (default: the model type)")
    parser.add_argument("--seconds", type=float, default=120, help="how long to search (default: 120)")
    parser.add_argument("--stdout", action="store_true", help="print the spec, write nothing")
    parser.add_argument("--explain", action="store_true", help="say what was changed, and what showed it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _run(options: argparse.Namespace) -> int:
    from nemo_automodel.parity.infer import report
    from nemo_automodel.parity.infer.search import search

    quiet()
    begun = _begun(options)
    if not options.stdout:
        refuse_existing(options.root, begun.draft.name)
    found = search(begun, options.root, options.seconds, show_progress)
    show_progress("")
    told = report.as_dict(begun, found)
    if told["proven"] and not options.stdout:
        write_files(str(options.root), {told["spec"]: told["text"].encode()})
    if options.json:
        print(report.as_json(told))
    else:
        sys.stdout.write(told["text"] if options.stdout else "")
        print("\n".join(report.lines(told, options)), file=sys.stderr if options.stdout else sys.stdout)
    return told["exit_code"]


def _missing(options: argparse.Namespace) -> int:
    """0 whatever was found: what is not proven is told."""
    from nemo_automodel.parity.infer import missing

    quiet()
    types, found = missing.missing_types(options.root), []
    for one in missing.outcomes(types, options.root, options.seconds):
        found.append(one)
        print(f"{len(found)} of {len(types)}: {one}", flush=True, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps({"command": "new", "exit_code": 0, "missing": [asdict(one) for one in found]}))
    else:
        print(missing.summary(found))
    return 0


def _begun(options: argparse.Namespace) -> "Start":
    from nemo_automodel.parity.infer.sample import is_type, write_sample
    from nemo_automodel.parity.infer.start import start

    if Path(options.path).exists() or not is_type(options.path):
        return start(Path(options.path), options.root, options.name)
    with TemporaryDirectory() as folder:
        show_progress(f"a small checkpoint of {options.path}")
        write_sample(options.path, options.root, Path(folder))
        begun = start(Path(folder), options.root, options.name)
        return replace(begun, draft=replace(begun.draft, source=options.path))


if __name__ == "__main__":
    sys.exit(main())
