"""Eager attention of which the backward pass keeps queries, keys and values; scores and weights are made again.

By itself autograd keeps several tensors [B, N, S, T] (of soft-capped scores two, in bf16 three), and keys and values
once for each query head. Values and gradients are the formula's, bit for bit; one product more on the way back.
"""

import torch
from torch.autograd.function import once_differentiable

from nemo_automodel.components.models.common.row_blocks import outgrows_a_core


def read(weigh, q, k, v, mask):
    """weights @ v and the weights [B, N, S, T] themselves, of q [B, N, S, D], k [B, K, T, D] and v [B, K, T, E].

    weigh: (q, k [B, N, T, D], mask) -> weights in v's dtype, a function of these alone. mask: None, or what broadcasts
    to the weights.
    """
    if _is_worth_a_node(q, k, v, mask):
        return _Read.apply(weigh, q, k, v, mask)
    k, v = _for_each_query(q, k, v)
    weights = weigh(q, k, mask)
    return weights @ v, weights


def _for_each_query(q, *tensors):
    """Heads of keys or values, once for each query head that reads them."""
    return [one.repeat_interleave(q.shape[1] // one.shape[1], dim=1) for one in tensors]


def _is_worth_a_node(q, k, v, mask):
    """A compiler makes again what is cheap by itself; subclasses of tensors have rules for their own operators."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or (mask is not None and mask.requires_grad):
        return False
    plain = all(type(one) is torch.Tensor for one in (q, k, v))
    return plain and outgrows_a_core(q[..., :1].expand(-1, -1, -1, k.shape[2]))


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weigh, q, k, v, mask):
        ctx.weigh = weigh
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(q, k, v, mask)
        k, v = _for_each_query(q, k, v)
        weights = weigh(q, k, mask)
        return weights @ v, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_weights):
        *given, mask = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:4]
        with torch.enable_grad():
            q, k, v = leaves = [one.detach().requires_grad_(needs) for one, needs in zip(given, needed, strict=True)]
            k, v = _for_each_query(q, k, v)
            weights = ctx.weigh(q, k, mask)
        made = _gradients(weights, v, grad_y, grad_weights)
        wanted = [one for one in leaves if one.requires_grad]
        found = iter(torch.autograd.grad(list(made), wanted, list(made.values())))
        return None, *(next(found) if one.requires_grad else None for one in leaves), None


@torch.no_grad()
def _gradients(weights, v, grad_y, grad_weights):
    """{weights or v, where it needs one: its gradient} of those of weights @ v and of weights, either of them None."""
    found = {}
    if weights.requires_grad:
        parts = [grad_weights, None if grad_y is None else grad_y @ v.mT]
        first, *others = [part for part in parts if part is not None]
        found[weights] = first + others[0] if others else first
    if v.requires_grad:
        found[v] = torch.zeros_like(v) if grad_y is None else weights.mT @ grad_y
    return found
