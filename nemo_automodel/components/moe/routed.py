"""Tokens' rows in the order of their experts, and back, by the name of their implementation."""

from typing import NamedTuple

import torch

from nemo_automodel.components.models.common import kernels
from nemo_automodel.components.models.common.backend import offered
from nemo_automodel.components.moe.grouping import sort_choices


class Routed(NamedTuple):
    """The T * k choices, sorted by expert. order [T * k]: choices; back [T, k]: the row of each; offsets [E]: where the
    rows of each expert end, behind the last of which are those of experts that are elsewhere."""

    order: torch.Tensor
    back: torch.Tensor
    offsets: torch.Tensor

    @classmethod
    def by(cls, indices, experts):
        """Of indices [T, k]."""
        order, counts = sort_choices(indices, experts)
        back = torch.empty_like(order)
        back[order] = torch.arange(order.shape[0], device=order.device)
        return cls(order, back.view_as(indices), counts.cumsum(0).to(torch.int32))

    @property
    def here(self):
        """Which rows belong to experts that are here [T * k, 1]."""
        return (torch.arange(len(self.order), device=self.order.device) < self.offsets[-1])[:, None]


def gathered(x, routed):
    """x [T, D] -> rows [T * k, D], zero where the expert is elsewhere."""
    return x[routed.order // routed.back.shape[1]].masked_fill(~routed.here, 0)


def summed(y, weights, routed):
    """Rows [T * k, D] (zero where the expert is elsewhere), weights [T, k] -> [T, D]."""
    y = (y * weights.flatten()[routed.order, None])[routed.back.flatten()]
    return y.unflatten(0, routed.back.shape).sum(1)


def gathered_by_triton(x, routed):
    from nemo_automodel.components.moe.kernels import Gathered

    return Gathered.apply(x, routed.order, routed.back, routed.offsets[-1:])


def summed_by_triton(y, weights, routed):
    from nemo_automodel.components.moe.kernels import Summed

    return Summed.apply(y, weights, routed.order, routed.back, routed.offsets[-1:])


def _why_not(*given):
    return kernels.why_not(*given[:-1])


GATHERED = {
    "torch": gathered,
    "triton": offered("experts", "triton", gathered_by_triton, _why_not, gathered),
    "auto": offered("experts", "auto", gathered_by_triton, _why_not, gathered),
}
SUMMED = {
    "torch": summed,
    "triton": offered("experts", "triton", summed_by_triton, _why_not, summed),
    "auto": offered("experts", "auto", summed_by_triton, _why_not, summed),
}
