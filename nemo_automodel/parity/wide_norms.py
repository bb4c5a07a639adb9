"""Norms of references from before transformers 5.22 that round before they multiply by their weight."""

import copy
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import nn

from nemo_automodel.components.models.common.norm import Float32RMSNorm
from nemo_automodel.components.models.common.releases import MULTIPLIES_NORMS_IN_FP32
from nemo_automodel.components.models.common.rms_norm import rms_norm


def widen_norms(reference: nn.Module, ours: nn.Module) -> None:
    """Gives them the order that their class has since, and ours at every release (ADR 0016), in place."""
    if MULTIPLIES_NORMS_IN_FP32:
        return
    modules = dict(reference.named_modules())
    wide = {name: one.eps for name, one in ours.named_modules() if type(one) is Float32RMSNorm}
    for name, eps in wide.items():
        module: Any = modules.get(name)
        if module is not None and _rounds_first(module, eps):
            module.forward = partial(_widened, module, eps)


def _rounds_first(module: Any, eps: float) -> bool:
    """Whether bits in bf16 are of that order alone. Never of a gated norm, which takes a gate too."""
    if len(signature(module.forward).parameters) > 1:
        return False
    generator = torch.Generator().manual_seed(0)
    norm = copy.deepcopy(module).to(torch.bfloat16)
    norm.weight.data = torch.randn(norm.weight.shape, generator=generator).to(torch.bfloat16)
    x = torch.randn(64, len(norm.weight), generator=generator).to(torch.bfloat16)
    with torch.no_grad():
        found = norm(x)
        orders = [rms_norm(x, norm.weight, eps, rounds_first=first) for first in (True, False)]
    return torch.equal(found, orders[0]) and not torch.equal(found, orders[1])


def _widened(module: Any, eps: float, x: torch.Tensor) -> torch.Tensor:
    return rms_norm(x, module.weight, eps, rounds_first=False)
