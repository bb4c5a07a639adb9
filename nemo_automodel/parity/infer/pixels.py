"""What of a batch a class that takes images reads: asked of itself, before anybody knows its spec."""

import inspect
from dataclasses import replace
from typing import Any

import torch

from codegen.language.vision.tensors import FIELDS
from codegen.new.vision.merging import TOKENS
from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.images import Images
from nemo_automodel.parity.pictures import pictures_of

TYPES = "token_type_ids"
PIXELS = "pixel_values"  # begins the name of what pictures are given as


def images_of(reference: Any) -> Images:
    """What batches are drawn from. Raises ValueError where it takes pictures in no form that is known."""
    drawn = _drawn(reference)
    return replace(drawn, prefix=_sees_ahead(reference, drawn))


def _drawn(reference: Any) -> Images:
    """With the fields that the reference reads, and none that it would not miss."""
    known = inspect.signature(reference.forward).parameters
    pixels, *others = sorted((name for name in FIELDS if name in known and name != TYPES), key=_place)
    fields = [pixels, *others]
    while len(fields) > 1:
        drawn = _with(reference, fields)
        answers = {name: _answer(reference, drawn, name) for name in ("", *fields[1:])}
        if (whole := answers.pop("")) is None:
            runs = [name for name in answers if _answer(reference, _with(reference, _less(fields, name))) is not None]
            fields = _less(fields, runs[0]) if runs else fields[:1]
            continue
        unread = [name for name, one in answers.items() if one is not None and torch.equal(one, whole)]
        if not unread:
            return drawn
        fields = [name for name in fields if name not in unread]
    return _with(reference, fields)


def _place(name: str) -> tuple[bool, int]:
    """Pixels first, under the name that is a class's own where it takes the usual one too: older releases know that
    one alone."""
    return not name.startswith(PIXELS), -len(name) if name.startswith(PIXELS) else 0


def _less(fields: list[str], name: str) -> list[str]:
    return [one for one in fields if one != name]


def _with(reference: Any, fields: list[str]) -> Images:
    token = next(
        getattr(reference.config, name) for name in TOKENS if getattr(reference.config, name, None) is not None
    )
    return Images(reference, pictures_of(reference, fields), token)


def _answer(reference: Any, drawn: Images, without: str = "") -> torch.Tensor | None:
    """Logits of a batch of images, without one field; None where it cannot be run."""
    try:
        batch = drawn.batches()["left"]
        images = {name: value for name, value in batch.images.items() if name != without}
        return _logits(reference, replace(batch, images=images))
    except Exception:  # in whatever way a class refuses what it is not for
        return None


def _logits(reference: Any, batch: Batch) -> torch.Tensor:
    with torch.no_grad():
        return reference(**batch.inputs, use_cache=False).logits


def _sees_ahead(reference: Any, drawn: Images) -> bool:
    """Whether tokens of type 0 see those that follow: then types tell prompts from answers, not images."""
    if TYPES not in inspect.signature(type(reference).forward).parameters:
        return False
    batch = drawn.batches()["plain"]
    ids = batch.ids.clone()
    ids[:, -1] += 1 - 2 * (ids[:, -1] > 3).long()
    zeros = {**batch.images, TYPES: torch.zeros_like(ids)}
    before, after = (_logits(reference, replace(batch, ids=one, images=zeros))[:, 0] for one in (batch.ids, ids))
    return not torch.equal(before, after)
