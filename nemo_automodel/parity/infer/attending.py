"""A reference asked by another of its attentions than the one that it was built with: where the two answer otherwise,
either no model is meant, or one of them is not it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.compare import distance

EAGER, DEFAULT = "eager", "sdpa"  # what is asked, as it heeds all that a config says; and what transformers runs
ALIKE = 1e-3  # how near the answers by both are


@contextmanager
def attending(model: nn.Module, attention: str) -> Iterator[None]:
    """Within, a model computes attention as it says. Raises ValueError where the class has its own attention alone."""
    own = model.config._attn_implementation  # of the config that the class keeps, which may be a copy
    try:
        _attend(model, attention)
        yield
    finally:
        _attend(model, own)


def _attend(model: nn.Module, attention: str) -> None:
    model.set_attn_implementation(attention)  # type: ignore[operator]
    if model.config._attn_implementation != attention:  # older classes refuse it, and ask their config all the same
        if attention == DEFAULT and not model._supports_sdpa:
            raise ValueError(f"{type(model).__name__} has no {DEFAULT}")
        model.config._attn_implementation = attention


def other(attention: str) -> str:
    """The one that is not asked."""
    return EAGER if attention == DEFAULT else DEFAULT


def widest(batches: Mapping[str, Batch]) -> str:
    """The name of the batch that shows most: padded texts."""
    return "left" if "left" in batches else next(reversed(batches))


def is_causal(model: nn.Module, batches: Mapping[str, Batch]) -> bool:
    """Whether no token of a text sees what follows it. Of one that sees no other, eager attention makes the mean of
    all."""
    given = batches[next(name for name in ("plain", "short") if name in batches)]
    end = given.ids.shape[1] - 1
    less = replace(given, ids=given.ids[:, :end], mask=None if given.mask is None else given.mask[:, :end])
    with torch.no_grad(), attending(model, EAGER):
        whole, part = (model(**one.inputs, use_cache=False).logits[:, :end] for one in (given, less))
    return distance(part, whole) < ALIKE
