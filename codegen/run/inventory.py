"""What `codegen list` shows: every spec, and the state of what it generates."""

from codegen.artifacts import Checked
from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.run.build import Made
from codegen.run.discover import discover
from codegen.run.pipeline import Options, check
from codegen.run.report import Report
from codegen.run.tree import Tree


class Row(Frozen):
    """One spec.

    Attributes:
        state: `generated`, `drift`, `conflict` or `invalid` for a spec that generates; for a pending one `ready`,
            `no template yet` (then `missing` says for what) or `invalid`.
    """

    name: str
    spec: str
    architectures: tuple[str, ...]
    state: str
    missing: tuple[str, ...] = ()


def rows(options: Options) -> list[Row]:
    """One row for each spec, by path; active ones first."""
    report = check(options, "list")
    generated = {item.spec: item for item in report.made}
    listed: list[Row] = []
    for path in discover(Tree(options.root, 0)).all:
        name = path.rpartition("/")[2].removesuffix(".yaml")
        if path in generated:
            listed.append(_active(name, path, generated[path], report))
        elif path in report.pending:
            listed.append(_pending(name, path, report.pending[path], options))
        else:
            listed.append(Row(name, path, (), "invalid"))
    return listed


def table(listed: list[Row]) -> str:
    """The rows as aligned text."""
    cells = [(row.name, ", ".join(row.architectures), _state(row)) for row in listed]
    widths = [max((len(cell[column]) for cell in cells), default=0) for column in range(2)]
    return "".join(f"{name:{widths[0]}}  {architecture:{widths[1]}}  {state}\n" for name, architecture, state in cells)


def _state(row: Row) -> str:
    return f"{row.state}: {', '.join(row.missing)}" if row.missing else row.state


def _active(name: str, path: str, item: Made, report: Report) -> Row:
    state = "generated"
    if any(problem.location.file == path for problem in report.problems):
        state = "invalid"
    elif any(conflict.path in item.files for conflict in report.conflicts):
        state = "conflict"
    elif any(change.path in item.files for change in report.changes):
        state = "drift"
    return Row(name, path, item.registry.architectures if item.registry else (), state)


def _pending(name: str, path: str, checked: Checked, options: Options) -> Row:
    missing = checked.missing or _refused(path, options)
    return Row(name, path, checked.architectures, "no template yet" if missing else "ready", missing)


def _refused(path: str, options: Options) -> tuple[str, ...]:
    """Why a spec whose words all have templates cannot generate all the same."""
    try:
        options.generator.generate(path, options.root)
    except SpecError as error:
        return error.lacking
    return ()
