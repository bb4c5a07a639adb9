"""How the rows of fused tensors lie, in a draft: their names tell more than their shapes."""

from collections.abc import Sequence
from typing import Any, cast

from codegen.new.body import Body
from codegen.new.heads import kv_heads
from codegen.new.mixing import FUSED
from codegen.new.nearest import Candidate
from codegen.new.values import Values

_AT = ("checkpoint", "fused")


def lie_as_elsewhere(body: Body, ranked: Sequence[Candidate], values: Values) -> None:
    """Fused rows of unseen order, as they lie in the most alike spec that has a tensor of that name for these roles."""
    number = kv_heads(body, values)
    for name, parts in body.section(*_AT).items():
        if body.marks.get((*_AT, name)) != FUSED:
            continue
        others = (Body(one.written).get(*_AT, name) for one in ranked)
        alike = (one for one in others if one and sorted(_roles(one)) == sorted(_roles(parts)))
        known = [(one, count) for one in alike if (count := _count(one, values)) is not None]
        fits = (one for one, count in known if not (number or count) % count)
        grouped = number is not None and number > 1 and body.get("attention", "kv_heads")
        own = {"parts": _roles(parts), "groups": grouped} if known and grouped else parts  # by the heads that there are
        body.put(next(fits, own), *_AT, name, doubt=FUSED)


def _roles(written: Any) -> list[str]:
    return cast("list[str]", written["parts"] if isinstance(written, dict) else written)


def _count(written: Any, values: Values) -> int | None:
    """In how many groups the rows lie; None where this config does not say it."""
    groups = cast("dict[str, Any]", written).get("groups", 1) if isinstance(written, dict) else 1
    found = groups if isinstance(groups, int) else values.read(str(groups))
    return found if isinstance(found, int) and found > 0 else None
