"""References that let padding into their texts: they are asked about each text alone, whatever stands beside it."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

ROWS = ("input_ids", "inputs_embeds", "position_ids")  # what is cut by rows and places


def ask_alone(model: nn.Module) -> None:
    """From now on the model reads each text of a padded batch without its padding, in place."""
    signature = inspect.signature(type(model).forward.__get__(model))
    forward = partial(_asked, model, tuple(signature.parameters))
    forward.__signature__ = signature  # type: ignore[attr-defined]
    model.forward = forward


@contextmanager
def leaking(model: nn.Module) -> Iterator[None]:
    """Within, the model is its class's again."""
    forward = vars(model).pop("forward", None)
    try:
        yield
    finally:
        if forward is not None:
            model.forward = forward


def _asked(model: nn.Module, names: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
    kwargs |= dict(zip(names, args, strict=False))
    given = {name: kwargs[name] for name in ROWS if kwargs.get(name) is not None}
    forward = partial(type(model).forward, model)
    if not _has_padding(kwargs.get("attention_mask"), given):
        return forward(**kwargs)
    attention_mask, labels = kwargs.pop("attention_mask"), kwargs.pop("labels", None)
    texts = [
        forward(**kwargs | {name: one[row % len(one)][real][None] for name, one in given.items()})
        for row, real in enumerate(attention_mask.bool())
    ]
    return _together(model, texts, attention_mask.bool(), labels, kwargs)


def _has_padding(mask: Any, given: dict[str, torch.Tensor]) -> bool:
    """Whether some of these texts are padded, and a cache holds nothing of them."""
    ids = given.get("input_ids", given.get("inputs_embeds"))
    if mask is None or ids is None or mask.ndim != 2 or mask.shape != ids.shape[:2]:
        return False
    return not bool(mask.all())


def _together(model: Any, texts: list[Any], real: torch.Tensor, labels: Any, kwargs: dict[str, Any]) -> Any:
    """One output, zero where there is padding; the loss as the model's class computes it."""
    out = texts[0]
    out.logits = _padded([one.logits for one in texts], real)
    for name in ("hidden_states", "attentions"):
        if out.get(name) is not None:
            layers = zip(*(one[name] for one in texts), strict=True)
            squares = name == "attentions"
            setattr(out, name, tuple(_padded(list(layer), real, squares=squares) for layer in layers))
    if labels is not None:
        out.loss = model.loss_function(logits=out.logits, labels=labels, vocab_size=model.config.vocab_size, **kwargs)
    return out


def _padded(rows: list[torch.Tensor], real: torch.Tensor, *, squares: bool = False) -> torch.Tensor:
    """Rows [1, s, D], or squares [1, N, s, s], at the places of their texts: [B, S, D] or [B, N, S, S]."""
    found: list[torch.Tensor] = []
    for one, places in zip(rows, real, strict=True):
        index = places.nonzero().squeeze(1)
        if squares:
            wide = one.new_zeros(*one.shape[:3], len(places)).index_copy(3, index, one)
            found.append(one.new_zeros(*one.shape[:2], len(places), len(places)).index_copy(2, index, wide))
        else:
            found.append(one.new_zeros(1, len(places), one.shape[-1]).index_copy(1, index, one))
    return torch.cat(found)
