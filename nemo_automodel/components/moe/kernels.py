"""Triton kernels that bring rows to their experts and back (ADR 33): the formulas are in `routed`.

Two kernels are each other's backward: rows gathered by choice, and a token's rows summed; with weights or without. No
atomics: what they add up has one order.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

BLOCK = 1024  # columns at once, at most


@triton.jit
def _gather(x, order, ends, weights, y, out, grads, k, width, WEIGHS: tl.constexpr, BLOCK: tl.constexpr):
    """out[row] = x[token of the row], times its weight, whose gradient is x[token] . y[row]; 0 from the end on."""
    row = tl.program_id(0).to(tl.int64)
    is_here = row < tl.load(ends)
    choice = tl.load(order + row)
    weight, grad = 1.0, 0.0
    if WEIGHS:
        weight = tl.load(weights + choice).to(tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        within = (column < width) & is_here
        value = tl.load(x + choice // k * width + column, within, 0.0).to(tl.float32)
        if WEIGHS:
            grad += tl.sum(value * tl.load(y + row * width + column, within, 0.0).to(tl.float32))
        tl.store(out + row * width + column, (value * weight).to(out.dtype.element_ty), column < width)
    if WEIGHS:
        tl.store(grads + choice, grad)


@triton.jit
def _sum(rows, back, ends, weights, out, width, K: tl.constexpr, WEIGHS: tl.constexpr, BLOCK: tl.constexpr):
    """out[token] = the sum of its rows, each times its weight, in fp32; rows from the end on are nothing."""
    token, end = tl.program_id(0).to(tl.int64), tl.load(ends)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for choice in range(K):
        row = tl.load(back + token * K + choice)
        value = tl.load(rows + row * width + column, (column < width) & (row < end), 0.0).to(tl.float32)
        if WEIGHS:
            value *= tl.load(weights + token * K + choice).to(tl.float32)
        total += value
    tl.store(out + token * width + column, total.to(out.dtype.element_ty), column < width)


class Gathered(torch.autograd.Function):
    """x [T, D], order [T * k] and back [T, k] of choices, ends [1] -> rows [T * k, D]."""

    @staticmethod
    def forward(ctx, x, order, back, ends):
        ctx.save_for_backward(back, ends)
        return _gathered(x, order, ends, back.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return _summed(grad, *ctx.saved_tensors), None, None, None


class Summed(torch.autograd.Function):
    """rows [T * k, D], weights [T, k], order, back, ends as above -> [T, D] in the dtype of rows."""

    @staticmethod
    def forward(ctx, rows, weights, order, back, ends):
        ctx.save_for_backward(rows, weights, order, back, ends)
        return _summed(rows, back, ends, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rows, weights, order, back, ends = ctx.saved_tensors
        grad_weights = torch.empty(weights.shape, dtype=weights.dtype, device=weights.device)
        grad_rows = _gathered(grad, order, ends, back.shape[1], (weights.contiguous(), rows.contiguous(), grad_weights))
        return grad_rows, grad_weights, None, None, None


def _gathered(x, order, ends, k, weighed=None):
    x, width = x.contiguous(), x.shape[-1]
    out = x.new_empty((len(order), width))
    if out.numel():
        weights, y, grads = weighed or (None, None, None)
        block = min(BLOCK, triton.next_power_of_2(width))
        _gather[len(order),](x, order, ends, weights, y, out, grads, k, width, weighed is not None, block)
    return out


def _summed(rows, back, ends, weights=None):
    rows, width = rows.contiguous(), rows.shape[-1]
    out = rows.new_empty((len(back), width))
    if out.numel():
        block = min(BLOCK, triton.next_power_of_2(width))
        weights = None if weights is None else weights.contiguous()
        _sum[len(back), triton.cdiv(width, block)](
            rows, back, ends, weights, out, width, back.shape[1], weights is not None, block
        )
    return out
