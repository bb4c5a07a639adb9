"""Experts on a CPU: blocks of rows that stay in its cache, from gathering to the last product, with their gradients."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.models.common.forgetting import made_again, maker
from nemo_automodel.components.moe import products
from nemo_automodel.components.moe.activation import weigh, weigh_backward
from nemo_automodel.components.moe.grouping import group

BLOCK_ROWS = 4096
CACHE_LINE = 64  # bytes, to which torch aligns tensors
HUGE = 4 * 2**20  # bytes from which NumPy asks for huge pages


def blockwise(x, indices, weights, up, up_bias, down, down_bias, activate, by=products):
    """The sum over a token's choices of weight * down(activate(up(x))): [T, D] -> [T, D].

    indices, weights [T, k]; up [E, U, D], down [E, D, I], or views of matrices that lie turned; biases [E, U] and
    [E, D], or None; activate: rows [S, U] -> [S, I], without parameters of its own. Choices of ids from E on add
    nothing. `by` is what computes products: of `products` alone SwiGLU between them is PyTorch's too.
    """
    return _Blockwise.apply(x, indices, weights, up, up_bias, down, down_bias, activate, by)


def blockwise_simd(x, indices, weights, up, up_bias, down, down_bias, activate):
    """The same with the products of `simd`. Raises ValueError for what they cannot compute."""
    if reason := simd.why_not(x.dtype, *up.shape[1:], *down.shape[1:]):
        raise ValueError(f"backend.experts: simd: {reason}; use auto")
    return blockwise(x, indices, weights, up, up_bias, down, down_bias, activate, by=simd)


class _Blockwise(torch.autograd.Function):
    """Keeps the products with `up`, and x where no node makes it again; the rest is computed again, block by block."""

    @staticmethod
    def forward(ctx, x, indices, weights, up, up_bias, down, down_bias, activate, by):
        groups = group(indices, len(up), coarse=by is products and x.dtype != torch.float32)
        tokens = groups.choices // indices.shape[1]
        factors = (weights.flatten()[groups.choices] * groups.is_choice)[:, None]
        h = _empty((len(tokens), up.shape[1]), x)
        y = _empty((len(tokens) + 1, down.shape[1]), x)
        y[-1] = 0  # what choices of experts that are elsewhere add
        blocks, fused = _blocks(groups.sizes), by is not products and activate.is_swiglu
        for block, rows in blocks:
            by.products(x.index_select(0, tokens[rows]), up.transpose(1, 2), block, h[rows], up_bias)
            hidden = weigh(activate, h[rows], factors[rows], fused)
            by.products(hidden, down.transpose(1, 2), block, y[rows])
            if down_bias is not None:
                y[rows] += (_spread(down_bias, block) * factors[rows]).to(x.dtype)
        ctx.maker, ctx.shape = maker(x), x.shape
        ctx.save_for_backward(None if ctx.maker else x, up, up_bias, down, down_bias, h, tokens, factors, groups.rows)
        ctx.blocks, ctx.activate, ctx.fused, ctx.sizes, ctx.by = blocks, activate, fused, groups.sizes, by
        return F.embedding_bag(groups.rows, y, mode="sum")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, up, up_bias, down, down_bias, h, tokens, factors, choice_rows = ctx.saved_tensors
        x = made_again(ctx.maker, ctx.shape) if ctx.maker else x
        grad_up, grad_down = _grad_weights(up, ctx, 3), _grad_weights(down, ctx, 5)
        grad_up_bias, grad_down_bias = (None if b is None else torch.zeros_like(b) for b in (up_bias, down_bias))
        grad_x = _empty((len(tokens) + 1, x.shape[1]), x)
        grad_x[-1] = 0
        grad_factors = factors.new_zeros(len(tokens) + 1)
        for block, rows in ctx.blocks:
            grad_y = grad.index_select(0, tokens[rows])
            grad_hidden = ctx.by.products(grad_y, down, block, grad_y.new_empty((len(grad_y), down.shape[2])))
            hidden, grad_h, grad_factor = weigh_backward(ctx.activate, h[rows], factors[rows], grad_hidden, ctx.fused)
            _grad_products(ctx.by, grad_y, hidden, block, grad_down)
            if down_bias is not None:
                grad_factor += (grad_y * _spread(down_bias, block)).sum(1, keepdim=True)
                _add_sums(grad_y * factors[rows], block, grad_down_bias)
            if up_bias is not None:
                _add_sums(grad_h, block, grad_up_bias)
            grad_factors[rows] = grad_factor[:, 0]
            _grad_products(ctx.by, grad_h, x.index_select(0, tokens[rows]), block, grad_up)
            ctx.by.products(grad_h, up, block, grad_x[rows])
        grad_x = F.embedding_bag(choice_rows, grad_x, mode="sum")
        return grad_x, None, grad_factors[choice_rows], grad_up, grad_up_bias, grad_down, grad_down_bias, None, None


def _empty(shape, like):
    """Uninitialised, like torch.empty, but in huge pages where Linux offers them: NumPy asks for them, torch does not.

    The first touch of small pages costs as much as the product that fills them: half of a gradient's time in fp32.
    """
    size = math.prod(shape) * like.element_size()
    if size < HUGE:
        return like.new_empty(shape)
    room = np.empty(size + CACHE_LINE, dtype=np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    return torch.from_numpy(room[start : start + size]).view(like.dtype).view(shape)


def _grad_weights(weights, ctx, position):
    """Room for the gradient [E, A, B], as weights lie and zero at experts without rows; None where none is wanted."""
    if not ctx.needs_input_grad[position]:
        return None
    room = _empty(weights.mT.shape, weights).mT if _is_turned(weights) else _empty(weights.shape, weights)
    for size, part in zip(ctx.sizes, room.unbind(0), strict=True):
        if not size:
            part.zero_()
    return room


def _is_turned(weights):
    """Whether [E, A, B] is a view of matrices that lie as [E, B, A]."""
    return weights.mT.is_contiguous() and not weights.is_contiguous()


def _grad_products(by, grad, x, block, room):
    """room[e] = grad^T @ x, or x^T @ grad into what the view is of."""
    if room is None or not _is_turned(room):
        by.grad_products(grad, x, block, room)
    else:
        by.grad_products(x, grad, block, room.mT)


def _blocks(sizes):
    """Consecutive experts with up to BLOCK_ROWS rows (one expert may have more): [([(expert, size)], rows), ...]."""
    blocks, block, start, end = [], [], 0, 0
    for expert, size in enumerate(sizes):
        if block and end + size - start > BLOCK_ROWS:
            blocks.append((block, slice(start, end)))
            block, start = [], end
        if size:
            block.append((expert, size))
            end += size
    return [*blocks, (block, slice(start, end))] if block else blocks


def _spread(bias, block):
    """The bias of each row's expert: [E, D] -> [S, D]."""
    experts, sizes = (torch.tensor(column) for column in zip(*block, strict=True))
    return bias.index_select(0, experts).repeat_interleave(sizes, dim=0)


def _add_sums(grad, block, out):
    """out[e] = the sum of each expert's rows: grad [S, D], out [E, D]."""
    for expert, rows in products.slices(block, grad):
        torch.sum(rows, dim=0, out=out[expert])
