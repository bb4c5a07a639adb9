"""Gated norms of references from before transformers 5.23: one group where the checkpoints' authors have several."""

from functools import partial
from typing import Any

import torch
from torch import nn

from nemo_automodel.components.models.common.gated_norm import GatedRMSNorm
from nemo_automodel.components.models.common.releases import GROUPS_NORMS


def group_norms(reference: nn.Module, ours: nn.Module) -> None:
    """Gives the reference's gated norms the groups that ours have at every release (ADR 0018), in place."""
    if GROUPS_NORMS:
        return
    grouped = {name: one.groups for name, one in ours.named_modules() if isinstance(one, GatedRMSNorm)}
    for name, module in list(reference.named_modules()):
        if grouped.get(name, 1) > 1 and not hasattr(module, "group_size") and "forward" not in vars(module):
            module.forward = partial(_by_group, module, grouped[name])


def _by_group(module: nn.Module, groups: int, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """The class's own norm, on each group with its share of the weight."""
    weights = module.weight.chunk(groups)
    pieces = zip(weights, x.chunk(groups, dim=-1), gate.chunk(groups, dim=-1), strict=True)
    return torch.cat([type(module).forward(_Share(module, weight), *piece) for weight, *piece in pieces], dim=-1)


class _Share:
    """What a norm's forward reads, with another weight."""

    def __init__(self, module: nn.Module, weight: torch.Tensor) -> None:
        self.module, self.weight = module, weight

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)
