"""Towers whose tensors lie under other names than their class has, as those of a spec that says so."""

from collections.abc import Mapping, Sequence
from typing import Any

from codegen.language.vision.sections import TowerOnDisk
from codegen.new.body import Body
from codegen.new.headers import Shape
from codegen.new.vision.nearest import Candidate
from codegen.new.vision.tower import KEYS, as_in


def stored_as(tensors: Mapping[str, Shape], ranked: Sequence[Candidate]) -> Candidate | None:
    """The first spec all of whose names of a tower on disk are found here."""
    return next((one for one in ranked if _fits(one.loaded.spec.checkpoint.vision, tensors)), None)


def draft_stored(body: Body, model: Mapping[str, Any], found: Candidate) -> None:
    """Write `checkpoint.vision` as in a spec, and what else it says of its tower."""
    doubt = f"as in {found.loaded.name}, whose names on disk are those that are found here"
    body.put(found.written["checkpoint"]["vision"], "checkpoint", "vision", doubt=doubt)
    as_in(body, found, ("output",) if model else KEYS)


def _fits(disk: TowerOnDisk | None, tensors: Mapping[str, Shape]) -> bool:
    """Whether all names on disk are pieces of names that are here."""
    if disk is None or not tensors:
        return False
    pieces = [*(str(name) for name in (disk.names or {}).values()), *(disk.fused or {})]
    return all(any(f".{piece}." in f".{name}." for name in tensors) for piece in pieces)
