"""How the rows of fused tensors lie, in a draft: their names tell more than their shapes."""

from collections.abc import Sequence
from typing import Any, cast

from codegen.new.body import Body
from codegen.new.mixing import FUSED
from codegen.new.nearest import Candidate
from codegen.new.values import Values

_AT = ("checkpoint", "fused")


def lie_as_elsewhere(body: Body, ranked: Sequence[Candidate], values: Values) -> None:
    """Fused rows of unseen order, as they lie in the most alike spec that has a tensor of that name for these roles."""
    for name, parts in body.section(*_AT).items():
        if body.marks.get((*_AT, name)) != FUSED:
            continue
        others = (Body(one.written).get(*_AT, name) for one in ranked)
        fits = (one for one in others if one and sorted(_roles(one)) == sorted(_roles(parts)) and _counts(one, values))
        body.put(next(fits, parts), *_AT, name, doubt=FUSED)


def _roles(written: Any) -> list[str]:
    return cast("list[str]", written["parts"] if isinstance(written, dict) else written)


def _counts(written: Any, values: Values) -> bool:
    """Whether this config says in how many groups the rows lie."""
    groups = cast("dict[str, Any]", written).get("groups", 1) if isinstance(written, dict) else 1
    return isinstance(groups if isinstance(groups, int) else values.read(str(groups)), int)
