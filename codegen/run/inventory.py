"""What `codegen list` shows: every spec, the state of what it generates, and what of it is proven."""

from codegen.frozen import Frozen
from codegen.places import Places, places
from codegen.run.build import Made
from codegen.run.discover import discover
from codegen.run.pipeline import Options, check
from codegen.run.proofs import RECORD, Proof, Proven, fingerprint, parsed
from codegen.run.report import Report
from codegen.run.tree import Tree


class Row(Frozen):
    """One spec.

    Attributes:
        lines: of the spec, without those that are empty or a comment.
        state: `generated`, `drift`, `conflict` or `invalid`.
        kind: what kind of model it is; empty where nothing is generated.
        model_type: of its config; empty where nothing is generated.
        proven: `yes`; `outdated` where other code was proven than stands there now; or `no`.
        proofs: what was proven of it, the newest release of transformers first.
    """

    name: str
    spec: str
    lines: int
    architectures: tuple[str, ...]
    state: str
    kind: str = ""
    model_type: str = ""
    proven: str = "no"
    proofs: tuple[Proof, ...] = ()


def rows(options: Options) -> list[Row]:
    """One row for each spec, by path."""
    return rows_of(check(options, "list"), options.root)


def rows_of(report: Report, root: str) -> list[Row]:
    """The same, of a tree that was checked."""
    generated = {item.spec: item for item in report.made}
    tree, at = Tree(root, 0), places(root)
    record = parsed(tree.read(f"{at.docs}/{RECORD}")) if at.docs is not None else {}
    listed: list[Row] = []
    for path in discover(tree).specs:
        name = path.rpartition("/")[2].removesuffix(".yaml")
        lines = _lines(tree.read(path) or b"")
        if path in generated:
            listed.append(_generated(name, path, lines, generated[path], report, record.get(name), at))
        else:
            listed.append(Row(name, path, lines, (), "invalid"))
    return listed


def table(listed: list[Row]) -> str:
    """The rows as aligned text."""
    cells = [
        (row.name, ", ".join(row.architectures), row.kind, f"{row.lines} lines", f"{row.state}{proof(row)}")
        for row in listed
    ]
    widths = [max((len(cell[column]) for cell in cells), default=0) for column in range(4)]
    return "".join("  ".join([*map(str.ljust, cell[:4], widths), cell[4]]) + "\n" for cell in cells)


def proof(row: Row) -> str:
    """Behind the state, what is proven of it."""
    if row.proven == "yes":
        best = row.proofs[0]
        return (
            f", proven with {', '.join(one.transformers for one in row.proofs)}: {best.worst:.1e} of {best.bound:.0e}"
        )
    return ", proven before its code changed" if row.proven == "outdated" else ""


def _lines(spec: bytes) -> int:
    return sum(1 for line in spec.splitlines() if line.strip() and not line.lstrip().startswith(b"#"))


def _generated(name: str, path: str, lines: int, item: Made, report: Report, known: Proven | None, at: Places) -> Row:
    found = "generated"
    if any(problem.location.file == path for problem in report.problems):
        found = "invalid"
    elif any(conflict.path in item.files for conflict in report.conflicts):
        found = "conflict"
    elif any(change.path in item.files for change in report.changes):
        found = "drift"
    architectures = item.registry[0].architectures if item.registry else ()
    proven = "no" if known is None else "yes" if known.code == fingerprint(item.files, at.models) else "outdated"
    proofs = known.proofs if known is not None else ()
    return Row(name, path, lines, architectures, found, item.kind, item.model_type, proven, proofs)
