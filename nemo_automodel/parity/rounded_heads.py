"""Attention of references from before transformers 5.24 that turns heads by fp32 tables and leaves them in fp32."""

from functools import partial
from typing import Any

import torch
from torch import nn

from nemo_automodel.components.models.common.releases import ROUNDS_TURNED_HEADS


def round_heads(reference: nn.Module) -> None:
    """Gives such attention what its class does since 5.24, and ours at every release (ADR 0016), in place.

    Queries and keys have the dtype of the values before their product, which is multiplied by its scale.
    """
    if ROUNDS_TURNED_HEADS:
        return
    for module in reference.modules():
        if hasattr(module, "_attn") and hasattr(module, "embed_positions"):
            module._attn = partial(_rounded, module)
            module.scale_attn = _Factor(module.head_dim**-0.5)


def _rounded(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any) -> Any:
    """The class's own attention on rounded heads [B, N, S, D]."""
    return type(module)._attn(module, q.to(v.dtype), k.to(v.dtype), v, *rest)


class _Factor:
    """What multiplies where something is divided by it."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __rtruediv__(self, scores: torch.Tensor) -> torch.Tensor:
        return scores * self.value
