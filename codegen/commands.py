"""What each command does with its arguments, and what reaches stdout and stderr.

Exit codes: 0 done or clean; 1 out of date (`check`, `diff`) or changed (`apply --exit-non-zero-on-change`); 2 invalid
spec or usage, or a disk that refuses; 3 a conflict with something that a person wrote.

With `--json`, stdout holds one object. Its keys always include `command` and `exit_code`; the others are those of
`codegen.run.report` for apply, check and diff; of the dataclass that the command returns for list (as `specs`),
explain, eject and new; `markdown` of review; and `error` (lines) and `problems` if the command could not do its work.
"""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from codegen.arguments import parser
from codegen.errors import UNPROVABLE, CodegenError, ConflictError, NoLibraryError, Problem, SpecError
from codegen.layout import find_root
from codegen.places import HERE, places
from codegen.run.planner import Planner
from codegen.run.report import Report, problem_as_dict


def run(arguments: list[str]) -> int:
    """Run one command line; every expected error becomes a message and an exit code."""
    options = parser().parse_args(arguments)
    try:
        return _COMMANDS[options.command](options)
    except SpecError as error:
        return _fail(options, 2, list(map(str, error.problems)), error.problems)
    except ConflictError as error:
        return _fail(options, 3, [str(error)])
    except CodegenError as error:
        return _fail(options, 2, [str(error)])
    except OSError as error:
        return _fail(options, 2, [_refusal(error)])


def _apply(options: Namespace) -> int:
    report = _evaluated(options)
    return _show(report, options, fail_on_change=options.exit_non_zero_on_change)


def _check(options: Namespace) -> int:
    return _show(_evaluated(options), options, fail_on_change=True)


def _diff(options: Namespace) -> int:
    report = _evaluated(options)
    if options.as_json:
        return _show(report, options, fail_on_change=True)
    sys.stdout.write(report.diff())
    _print_errors(report.error_lines())
    return report.exit_code(fail_on_change=True)


def _evaluated(options: Namespace) -> Report:
    """The command's report. Processors that wait for nothing else begin to import before this one has."""
    planner = Planner(early=True)
    from codegen.run import build, pipeline

    settings = pipeline.Options(_root(options), not options.no_cache, build.RealGenerator(planner))
    return pipeline.apply(settings) if options.command == "apply" else pipeline.check(settings, options.command)


def _list(options: Namespace) -> int:
    from codegen.run import inventory, pipeline

    root = _root(options)
    rows = inventory.rows(pipeline.Options(root))
    if not (options.missing or options.write):
        return _answer(options, {"specs": list(map(asdict, rows))}, inventory.table(rows))
    from codegen.run import coverage, missing
    from codegen.write.single import write_files

    lacking = missing.missing(rows, Path(root))
    if options.write:
        page = f"{_docs(root)}/{coverage.PAGE}"
        changed = write_files(root, {page: coverage.page(rows, lacking).encode()})
        return _answer(options, {"changed": changed}, f"{page}: {'updated' if changed else 'up to date'}\n")
    lacking += missing.missing_images(rows, Path(root))
    return _answer(options, {"missing": list(map(asdict, lacking))}, missing.text(lacking))


def _explain(options: Namespace) -> int:
    from codegen.explain import explain, graph

    if options.graph:
        if options.field is not None:
            raise CodegenError("--graph is of the whole model: leave the field out")
        drawn = graph(options.name, Path(_root(options)))
        return _answer(options, {"name": options.name, "graph": drawn}, drawn)
    explanation = explain(options.name, options.field, Path(_root(options)))
    return _answer(options, asdict(explanation), f"{explanation}\n")


def _review(options: Namespace) -> int:
    from codegen.review import review
    from codegen.run.pipeline import Options

    found = review(Options(_root(options), not options.no_cache), options.base)
    if options.as_json:
        print(json.dumps({"command": "review", "exit_code": found.code, "markdown": found.text}))
    else:
        sys.stdout.write(found.text)
    return found.code


def _schema(options: Namespace) -> int:
    from codegen.language.reference import reference_page
    from codegen.language.schema import schema_text

    if not options.write:
        sys.stdout.write(schema_text())
        return 0
    from codegen.write.single import write_files

    root = _root(options)
    files = {f"{places(root).specs}/spec.schema.json": schema_text()}
    files |= {"docs/spec-reference.md": reference_page()} if places(root) == HERE else {}
    changed = write_files(root, {path: text.encode() for path, text in files.items()})
    print(f"{' and '.join(files)}: {'updated' if changed else 'up to date'}")
    return 0


def _new(options: Namespace) -> int:
    if options.missing == (options.path is not None):
        raise CodegenError("name a config.json, the folder of a checkpoint or a model type, or give --missing")
    if options.missing:
        return _new_of_missing(options)
    if not (options.draft or options.text):
        return _new_by_trial(options)
    if options.explain or options.seconds is not None:
        raise CodegenError("--explain and --seconds are of the search; leave --draft and --text out, or them")
    return _new_by_draft(options)


def _new_by_draft(options: Namespace) -> int:
    from codegen.new import draft

    outcome = draft(Path(options.path), Path(_root(options)), options.name, write=not options.stdout, text=options.text)
    if not options.stdout or options.as_json:
        return _answer(options, {"proven": False, **asdict(outcome)}, f"{outcome}\n")
    sys.stdout.write(outcome.text)
    print(outcome, file=sys.stderr)
    return 0


def _init(options: Namespace) -> int:
    from codegen.init.starting import init

    started = init(os.path.realpath(options.root or os.getcwd()), options.package, options.layout, options.specs)
    return _answer(options, asdict(started), f"{started}\n")


def _eject(options: Namespace) -> int:
    from codegen.run import eject

    outcome = eject.eject(_root(options), options.name)
    return _answer(options, asdict(outcome), "".join(f"{line}\n" for line in outcome.lines()))


def _new_of_missing(options: Namespace) -> int:
    if options.name or options.draft or options.text or options.stdout or options.explain:
        shown = "--name, --draft, --text, --stdout, --explain"
        raise CodegenError(f"--missing goes through all that is missing: leave {shown} out")
    seconds = ["--seconds", str(options.seconds)] if options.seconds is not None else []
    return _in_the_proof(options, "parity.infer", ["--missing", *seconds])


def _new_by_trial(options: Namespace) -> int:
    """Beside transformers' class; a draft where there is nothing to prove it by."""
    command = [os.path.abspath(options.path) if os.path.exists(options.path) else options.path]
    command += ["--seconds", str(options.seconds)] if options.seconds is not None else []
    command += ["--name", options.name] if options.name else []
    command += ["--stdout"] if options.stdout else []
    command += ["--explain"] if options.explain else []
    try:
        code = _in_the_proof(options, "parity.infer", command)
    except NoLibraryError as error:
        print(f"{error}; nothing proves the spec until then: this is a draft", file=sys.stderr)
        code = UNPROVABLE
    return _new_by_draft(options) if code == UNPROVABLE else code


def _parity(options: Namespace) -> int:
    command = [*options.names]
    command += ["--all"] if options.all else []
    command += ["--workers", options.workers] if options.workers else []
    command += ["--checkpoint", os.path.abspath(options.checkpoint)] if options.checkpoint else []
    command += ["--sensitivity"] if options.sensitivity else []
    command += ["--record"] if options.record else []
    return _in_the_proof(options, "parity", command)


def _in_the_proof(options: Namespace, module: str, command: list[str]) -> int:
    """A module of the library, in a process of its own: the generator imports neither torch nor what it wrote."""
    import subprocess

    from codegen.run import prover

    root = _root(options)
    python, environment = prover.find(root, places(root))
    command = [python, "-m", f"{places(root).library}.{module}", *command, *(["--json"] if options.as_json else [])]
    return subprocess.run(command, cwd=root, env=environment, check=False).returncode


_COMMANDS: dict[str, Callable[[Namespace], int]] = {
    "init": _init,
    "apply": _apply,
    "check": _check,
    "diff": _diff,
    "list": _list,
    "explain": _explain,
    "review": _review,
    "schema": _schema,
    "new": _new,
    "eject": _eject,
    "parity": _parity,
}


def _root(options: Namespace) -> str:
    root = options.root or find_root(os.getcwd())
    if root is None:
        cure = "name the root with --root, or begin here with codegen init"
        raise CodegenError(f"no folder here or above has specs/ and pyproject.toml or .git; {cure}")
    root = os.path.realpath(root)
    specs = places(root).specs
    if not os.path.isdir(os.path.join(root, specs)):
        raise CodegenError(f"{root}: has no {specs}/ folder; make one, or name another root")
    return root


def _docs(root: str) -> str:
    docs = places(root).docs
    if docs is None:
        raise CodegenError("[tool.codegen] switches docs off, so there is no page to write; give it a folder")
    return docs


def _show(report: Report, options: Namespace, *, fail_on_change: bool) -> int:
    code = report.exit_code(fail_on_change=fail_on_change)
    if options.as_json:
        print(report.as_json(code))
        return code
    for line in report.lines():
        print(line)
    _print_errors(report.error_lines())
    return code


def _answer(options: Namespace, data: dict[str, Any], text: str) -> int:
    if options.as_json:
        text = json.dumps({"command": options.command, "exit_code": 0, **data}, default=str) + "\n"
    sys.stdout.write(text)
    return 0


def _fail(options: Namespace, code: int, lines: list[str], problems: list[Problem] | None = None) -> int:
    if getattr(options, "as_json", False):
        listed = list(map(problem_as_dict, problems or []))
        print(json.dumps({"command": options.command, "exit_code": code, "error": lines, "problems": listed}))
    _print_errors(lines)
    return code


def _refusal(error: OSError) -> str:
    """What the disk refused, and the cure."""
    if error.filename is None:
        return str(error)
    return f"{error.filename}: {error.strerror}; see what stands there, and to its rights, and run again"


def _print_errors(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
