"""The commands: argument parsing, and what reaches stdout and stderr.

Exit codes: 0 done or clean; 1 out of date (`check`, `diff`) or changed (`apply --exit-non-zero-on-change`); 2 invalid
spec or usage; 3 a conflict with something that a person wrote.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from codegen.errors import CodegenError, ConflictError, SpecError
from codegen.layout import find_root
from codegen.report import Report, problem_as_dict

app = typer.Typer(
    name="codegen",
    help="Generate model architectures from specs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Root = Annotated[
    Path | None,
    typer.Option(
        "--root", help="Root of the tree; default: the nearest folder with specs/ and pyproject.toml or .git."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Report as JSON on stdout.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Trust nothing that an earlier run remembered.")]
Name = Annotated[str, typer.Argument(help="Name of a spec.")]


def run(arguments: list[str]) -> int:
    """Run one command; every error becomes a message and an exit code."""
    as_json = "--json" in arguments
    command = arguments[0] if arguments else ""
    try:
        result = app(arguments, prog_name="codegen", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except SpecError as error:
        return _fail(command, 2, list(map(str, error.problems)), as_json, list(map(problem_as_dict, error.problems)))
    except CodegenError as error:
        return _fail(command, 3 if isinstance(error, ConflictError) else 2, [str(error)], as_json)
    except OSError as error:
        return _fail(command, 2, [f"{error}: nothing was written"], as_json)
    except typer.Abort:
        return 130
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        return _usage(error)


@app.command()
def apply(
    exit_non_zero_on_change: Annotated[bool, typer.Option(help="Exit with 1 if anything was written.")] = False,
    as_json: AsJson = False,
    no_cache: NoCache = False,
    root: Root = None,
) -> int:
    """Write what the specs say: all of it or nothing."""
    from codegen import pipeline

    report = pipeline.apply(pipeline.Options(_root(root), cache=not no_cache))
    return _show(report, as_json, fail_on_change=exit_non_zero_on_change)


@app.command()
def check(no_cache: NoCache = False, as_json: AsJson = False, root: Root = None) -> int:
    """Say whether the tree is what the specs say; write nothing."""
    from codegen import pipeline

    report = pipeline.check(pipeline.Options(_root(root), cache=not no_cache))
    return _show(report, as_json, fail_on_change=True)


@app.command()
def diff(as_json: AsJson = False, no_cache: NoCache = False, root: Root = None) -> int:
    """Show what `apply` would change, as a patch; write nothing."""
    from codegen import pipeline

    report = pipeline.check(pipeline.Options(_root(root), cache=not no_cache), "diff")
    if report.changes and not as_json and not (report.problems or report.conflicts):
        sys.stdout.write(report.diff())
        _print_errors(report)
        return 1
    return _show(report, as_json, fail_on_change=True)


@app.command("list")
def list_specs(as_json: AsJson = False, root: Root = None) -> int:
    """List the specs and the state of what each generates. JSON: `specs`, each `name`, `spec`, `architectures`, `state`, `missing`."""
    from codegen import inventory

    rows = inventory.rows(_root(root))
    if as_json:
        print(json.dumps({"command": "list", "exit_code": 0, "specs": [vars(row) for row in rows]}))
    else:
        print(inventory.table(rows), end="")
    return 0


@app.command()
def explain(
    name: Name,
    field: Annotated[str | None, typer.Argument(help="Dotted field, e.g. attention.kind; default: all.")] = None,
    as_json: AsJson = False,
    root: Root = None,
) -> int:
    """Say what a field of a spec generates, and where. JSON: `name`, `fields`, each `path`, `value`, `generates`."""
    from codegen.explain import explain as explained

    lines = explained(Path(_root(root)), name, field)
    if as_json:
        print(json.dumps({"command": "explain", "exit_code": 0, "name": name, "fields": list(map(vars, lines))}))
    else:
        print("\n".join(map(str, lines)))
    return 0


@app.command()
def schema(
    write: Annotated[
        bool, typer.Option("--write", help="Write specs/spec.schema.json instead of printing it.")
    ] = False,
    root: Root = None,
) -> int:
    """Print the JSON Schema of specs."""
    from codegen.spec.schema import schema_text

    if not write:
        print(schema_text(), end="")
        return 0
    from codegen.write.single import write_file

    changed = write_file(_root(root), "specs/spec.schema.json", schema_text())
    print(f"specs/spec.schema.json: {'updated' if changed else 'up to date'}")
    return 0


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="A config.json, or the folder of a checkpoint.")],
    as_json: AsJson = False,
    root: Root = None,
) -> int:
    """Draft a spec from a checkpoint's config.json. JSON: what the draft found, see `codegen.new`."""
    from codegen.new import draft

    outcome = draft(path, Path(_root(root)))
    print(json.dumps({"command": "new", "exit_code": 0, **outcome.as_dict()}) if as_json else str(outcome))
    return 0


@app.command()
def eject(name: Name, as_json: AsJson = False, root: Root = None) -> int:
    """Hand the generated files of a model over to you. JSON: `name`, `spec`, `owned`, `kept`."""
    from codegen import eject as ejection

    outcome = ejection.eject(_root(root), name)
    if as_json:
        print(json.dumps({"command": "eject", "exit_code": 0, **vars(outcome)}))
    else:
        print("\n".join(outcome.lines()))
    return 0


@app.command()
def parity(
    name: Name,
    checkpoint: Annotated[Path | None, typer.Option(help="A checkpoint to prove against; default: a tiny one.")] = None,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", help="Flip every value of the spec.")] = False,
    as_json: AsJson = False,
    root: Root = None,
) -> int:
    """Prove a generated model equal to its reference, in a process of its own."""
    command = [sys.executable, "-m", "nemo_automodel.parity", name]
    command += ["--checkpoint", str(checkpoint.resolve())] if checkpoint else []
    command += ["--sensitivity"] if sensitivity else []
    command += ["--json"] if as_json else []
    folder = _root(root)
    search = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": search}, check=False).returncode


def _root(root: Path | None) -> str:
    found = find_root(os.getcwd()) if root is None else str(root)
    if found is None:
        raise CodegenError("no folder here or above has specs/ and pyproject.toml or .git; name the root with --root")
    if not os.path.isdir(os.path.join(found, "specs")):
        raise CodegenError(f"{found}: has no specs/ folder; make one, or name another root")
    return os.path.realpath(found)


def _show(report: Report, as_json: bool, *, fail_on_change: bool) -> int:
    code = report.exit_code(fail_on_change=fail_on_change)
    if as_json:
        print(report.as_json(code))
        return code
    for line in report.lines():
        print(line)
    _print_errors(report)
    return code


def _print_errors(report: Report) -> None:
    for line in report.error_lines():
        print(line, file=sys.stderr)


def _fail(
    command: str, code: int, lines: list[str], as_json: bool, problems: list[dict[str, object]] | None = None
) -> int:
    """Report an error; the JSON form has `command`, `exit_code`, `error` and `problems`."""
    if as_json:
        print(json.dumps({"command": command, "exit_code": code, "error": lines, "problems": problems or []}))
    for line in lines:
        print(line, file=sys.stderr)
    return code


def _usage(error: Exception) -> int:
    """A usage error of the parser, on stderr; exit code 2."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
    return int(getattr(error, "exit_code", 2))
