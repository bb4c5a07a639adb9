"""The page that says which models there are, what is proven of them, and what is lacking: `codegen list --write`."""

from collections.abc import Iterable

from codegen.markdown import escaped
from codegen.run.inventory import Row
from codegen.run.missing import Missing

PAGE = "coverage.md"  # beside the folders of pages
HEAD = """\
<!-- Written by `codegen list --write`. -->
# Coverage

A proof compares a generated model with its reference on tiny random weights: names and layouts on disk, every
component, the whole model with gradients, generation with and without a cache, and what is saved. `codegen parity NAME
--record` enters it here. "Worst" is the largest difference in fp32, as a part of the reference's largest value, beside
its bound; "bf16" the largest ratio of distances to the fp32 truth, ours to the reference's (bound 1.25).

"""


def page(rows: Iterable[Row], lacking: Iterable[Missing]) -> str:
    """The whole page."""
    listed, absent = list(rows), list(lacking)
    proven = sum(row.proven == "yes" for row in listed)
    counts = (
        f"{len(listed)} specs, {proven} of them proven as they stand; {len(absent)} further types of transformers.\n"
    )
    lines = [HEAD + counts]
    lines.append(
        "| spec | kind | lines | state | proven with | checks | worst | bf16 |\n|---|---|---|---|---|---|---|---|"
    )
    lines += map(_row, listed)
    lines.append("\n## What no spec generates yet\n\n| type | architecture | what is lacking |\n|---|---|---|")
    lines += (_cells(one.model_type, one.architecture, one.lacks) for one in absent)
    return "\n".join(lines) + "\n"


def _row(row: Row) -> str:
    figures = ["", "", "", ""]
    if row.proven == "yes":
        best = row.proofs[0]
        releases = ", ".join(one.transformers for one in row.proofs)
        figures = [releases, f"{best.checks:,}", f"{best.worst:.1e} of {best.bound:.0e}", f"{best.bf16:.2f}"]
    elif row.proven == "outdated":
        figures[0] = "before its code changed"
    return _cells(row.name, row.kind, str(row.lines), row.state, *figures)


def _cells(*cells: str) -> str:
    return f"| {' | '.join(map(escaped, cells))} |"
