"""Tokens' rows in the order of their experts, and back, by the name of their implementation."""

from typing import NamedTuple

import torch

from nemo_automodel.components.models.common import kernels
from nemo_automodel.components.models.common.backend import offered
from nemo_automodel.components.moe.grouping import sort_choices


class Routed(NamedTuple):
    """The T * k choices, sorted by expert. order [T * k]: choices; back [T * k]: the row of each; experts [T * k]: of
    each row; offsets [E]: where each one's rows end, behind the last of which are those of experts that are elsewhere.
    """

    order: torch.Tensor
    back: torch.Tensor
    experts: torch.Tensor
    offsets: torch.Tensor
    k: int

    @classmethod
    def by(cls, indices, experts):
        """Of indices [T, k]."""
        order, counts = sort_choices(indices, experts)
        back = torch.empty_like(order)
        back[order] = torch.arange(order.shape[0], device=order.device)
        return cls(order, back, indices.flatten()[order], counts.cumsum(0).to(torch.int32), indices.shape[1])

    @property
    def here(self):
        """Which rows belong to experts that are here [T * k, 1]."""
        return (self.experts < len(self.offsets))[:, None]


def gathered(x, routed):
    """x [T, D] -> rows [T * k, D], zero where the expert is elsewhere."""
    return x[routed.order // routed.k].masked_fill(~routed.here, 0)


def summed(y, weights, routed):
    """Rows [T * k, D] (zero where the expert is elsewhere), weights [T, k] -> [T, D]."""
    y = (y * weights.flatten()[routed.order, None])[routed.back]
    return y.unflatten(0, weights.shape).sum(1)


def gathered_by_triton(x, routed):
    from nemo_automodel.components.moe.kernels import Gathered

    return Gathered.apply(x, routed.order, routed.back.view(-1, routed.k), routed.offsets[-1:])


def summed_by_triton(y, weights, routed):
    from nemo_automodel.components.moe.kernels import Summed

    return Summed.apply(y, weights, routed.order, routed.back.view(-1, routed.k), routed.offsets[-1:])


def _why_not(*given):
    return kernels.why_not(*given[:-1])


GATHERED = {
    "torch": gathered,
    "triton": offered("experts", "triton", gathered_by_triton, _why_not, gathered),
}
SUMMED = {
    "torch": summed,
    "triton": offered("experts", "triton", summed_by_triton, _why_not, summed),
}
