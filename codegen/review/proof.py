"""What is proven of a spec that changed, as `codegen list` knows it."""

from collections.abc import Mapping

from codegen.review.comparison import Comparison
from codegen.review.markdown import code
from codegen.run.inventory import Row
from codegen.run.proofs import Proof


def proof(one: Comparison, rows: Mapping[str, Row]) -> str:
    """In a few words."""
    row = rows.get(one.pair.after or "")
    if row is None:
        return ""
    again = f"run {code(f'codegen parity {row.name} --record')}"
    if row.proven == "yes":
        return "; ".join(map(_said, row.proofs))
    if row.proven == "outdated":
        return f"**of other code only** ({'; '.join(map(_said, row.proofs))}): {again}"
    return f"**none is recorded**: {again}"


def _said(one: Proof) -> str:
    return f"transformers {one.transformers}: {one.checks} checks, worst error {one.worst:.1e} of {one.bound:.0e}"
