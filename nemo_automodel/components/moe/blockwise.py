"""Experts on a CPU: blocks of rows that stay in its cache, from gathering to the last product, with their gradients."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from nemo_automodel.components.moe.grouping import group
from nemo_automodel.components.moe.products import grad_products, products, slices

BLOCK_ROWS = 4096
HUGE = 4 * 2**20  # bytes from which NumPy asks for huge pages


def blockwise(x, indices, weights, up, up_bias, down, down_bias, activate):
    """The sum over a token's choices of weight * down(activate(up(x))): [T, D] -> [T, D].

    indices, weights [T, k]; up [E, U, D], down [E, D, I]; biases [E, U] and [E, D], or None; activate: rows
    [S, U] -> [S, I], without parameters of its own. Choices of ids from E on add nothing.
    """
    return _Blockwise.apply(x, indices, weights, up, up_bias, down, down_bias, activate)


class _Blockwise(torch.autograd.Function):
    """Keeps the products with `up` alone; the backward pass computes the rest again, block by block."""

    @staticmethod
    def forward(ctx, x, indices, weights, up, up_bias, down, down_bias, activate):
        groups = group(indices, len(up), coarse=x.dtype != torch.float32)
        tokens = groups.choices // indices.shape[1]
        factors = (weights.flatten()[groups.choices] * groups.is_choice)[:, None]
        h = _empty((len(tokens), up.shape[1]), x)
        y = _empty((len(tokens) + 1, down.shape[1]), x)
        y[-1] = 0  # what choices of experts that are elsewhere add
        blocks = _blocks(groups.sizes)
        for block, rows in blocks:
            products(x.index_select(0, tokens[rows]), up.transpose(1, 2), block, h[rows], up_bias)
            hidden = (activate(h[rows]) * factors[rows]).to(x.dtype)
            products(hidden, down.transpose(1, 2), block, y[rows])
            if down_bias is not None:
                y[rows] += (_spread(down_bias, block) * factors[rows]).to(x.dtype)
        ctx.save_for_backward(x, up, up_bias, down, down_bias, h, tokens, factors, groups.rows)
        ctx.blocks, ctx.activate, ctx.sizes = blocks, activate, groups.sizes
        return F.embedding_bag(groups.rows, y, mode="sum")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, up, up_bias, down, down_bias, h, tokens, factors, choice_rows = ctx.saved_tensors
        grad_up, grad_down = _grad_weights(up, ctx, 3), _grad_weights(down, ctx, 5)
        grad_up_bias, grad_down_bias = (None if b is None else torch.zeros_like(b) for b in (up_bias, down_bias))
        grad_x = _empty((len(tokens) + 1, x.shape[1]), x)
        grad_x[-1] = 0
        grad_factors = factors.new_zeros(len(tokens) + 1)
        for block, rows in ctx.blocks:
            grad_y = grad.index_select(0, tokens[rows])
            with torch.enable_grad():
                h_block, factor = h[rows].detach().requires_grad_(), factors[rows].detach().requires_grad_()
                hidden = (ctx.activate(h_block) * factor).to(x.dtype)
            grad_products(grad_y, hidden.detach(), block, grad_down)
            grad_hidden = products(grad_y, down, block, torch.empty_like(hidden))
            grad_h, grad_factor = torch.autograd.grad(hidden, (h_block, factor), grad_hidden)
            if down_bias is not None:
                grad_factor += (grad_y * _spread(down_bias, block)).sum(1, keepdim=True)
                _add_sums(grad_y * factor.detach(), block, grad_down_bias)
            if up_bias is not None:
                _add_sums(grad_h, block, grad_up_bias)
            grad_factors[rows] = grad_factor[:, 0]
            grad_products(grad_h, x.index_select(0, tokens[rows]), block, grad_up)
            products(grad_h, up, block, grad_x[rows])
        grad_x = F.embedding_bag(choice_rows, grad_x, mode="sum")
        return grad_x, None, grad_factors[choice_rows], grad_up, grad_up_bias, grad_down, grad_down_bias, None


def _empty(shape, like):
    """Uninitialised, like torch.empty, but in huge pages where Linux offers them: NumPy asks for them, torch does not.

    The first touch of small pages costs as much as the product that fills them: half of a gradient's time in fp32.
    """
    size = math.prod(shape) * like.element_size()
    if size < HUGE:
        return like.new_empty(shape)
    return torch.from_numpy(np.empty(size, dtype=np.uint8)).view(like.dtype).view(shape)


def _grad_weights(weights, ctx, position):
    """Room for the gradient [E, ...], zero at experts without rows; None where none is wanted."""
    if not ctx.needs_input_grad[position]:
        return None
    room = _empty(weights.shape, weights)
    for size, part in zip(ctx.sizes, room.unbind(0), strict=True):
        if not size:
            part.zero_()
    return room


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
    for expert, rows in slices(block, grad):
        torch.sum(rows, dim=0, out=out[expert])
