"""`python -m nemo_automodel.parity.infer PATH`: exit codes: 0 proven, 1 not, 2 nothing to search with."""

import argparse
import sys
from pathlib import Path

from codegen.errors import CodegenError
from codegen.new import refuse_existing
from codegen.write.single import write_files
from nemo_automodel.parity.__main__ import quiet, show_progress


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (CodegenError, OSError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="codegen new --prove", description="Find a spec by trial, and prove it.")
    parser.add_argument("path", type=Path, help="a config.json, or the folder of a checkpoint")
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
    from nemo_automodel.parity.infer.start import start

    quiet()
    begun = start(options.path, options.root, options.name)
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


if __name__ == "__main__":
    sys.exit(main())
