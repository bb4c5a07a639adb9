"""Gated activations as one kernel each way: act(gate) * (up + offset), clamped or not, however gate and up lie.

Rows [2I] of both lie in blocks of W columns, of one and then of the other: W = I is halves, W = 1 interleaved. Their
gradient is written as they lie, so nothing is put together again. Inputs alone are kept.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from nemo_automodel.components.models.common.forgetting import opened

BLOCK = 1024  # columns of a program, at most


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _shaped(x, ACT: tl.constexpr, ALPHA: tl.constexpr):
    """The activation of x in fp32, and its slope."""
    if ACT == "sigmoid":  # x * sigmoid(alpha * x): silu, quick_gelu
        s = _sigmoid(ALPHA * x)
        y, slope = x * s, s * (1 + ALPHA * x * (1 - s))
    elif ACT == "gelu":
        s = 0.5 * (1 + tl.erf(x * 0.7071067811865476))
        y, slope = x * s, s + x * tl.exp(-0.5 * x * x) * 0.3989422804014327
    elif ACT == "gelu_tanh":  # 0.5 * (1 + tanh(u)) = sigmoid(2 * u)
        s = _sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
        y, slope = x * s, s + x * s * (1 - s) * 1.5957691216057308 * (1 + 0.134145 * x * x)
    elif ACT == "relu":
        y, slope = tl.where(x < 0, 0.0, x), tl.where(x > 0, 1.0, 0.0)
    else:
        positive = tl.where(x < 0, 0.0, x)
        y, slope = positive * positive, 2 * positive
    return y, slope


@triton.jit
def _columns(block, BLOCK: tl.constexpr):
    """(row, columns of the result, where they stand in blocks) of a program."""
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    return tl.program_id(0).to(tl.int64), column, column // block * 2 * block + column % block


@triton.jit
def _cut(g, u, LIMIT: tl.constexpr):
    """Gate from above and up on both sides; comparisons let NaN through."""
    if LIMIT is not None:
        g = tl.where(g > LIMIT, LIMIT, g)
        u = tl.where(u > LIMIT, LIMIT, tl.where(u < -LIMIT, -LIMIT, u))
    return g, u


@triton.jit
def _forward(
    gate,
    up,
    out,
    width,
    block,
    gate_row,
    up_row,
    gate_step,
    up_step,
    ACT: tl.constexpr,
    ALPHA: tl.constexpr,
    LIMIT: tl.constexpr,
    OFFSET: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, column, place = _columns(block, BLOCK)
    within = column < width
    g = tl.load(gate + row * gate_row + place * gate_step, within, 0.0).to(tl.float32)
    u = tl.load(up + row * up_row + place * up_step, within, 0.0).to(tl.float32)
    g, u = _cut(g, u, LIMIT)
    y, _ = _shaped(g, ACT, ALPHA)
    tl.store(out + row * width + column, (y * (u + OFFSET)).to(out.dtype.element_ty), within)


@triton.jit
def _backward(
    gate,
    up,
    grad,
    grad_gate,
    grad_up,
    width,
    block,
    gate_row,
    up_row,
    gate_step,
    up_step,
    grad_row,
    ACT: tl.constexpr,
    ALPHA: tl.constexpr,
    LIMIT: tl.constexpr,
    OFFSET: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, column, place = _columns(block, BLOCK)
    within = column < width
    g = tl.load(gate + row * gate_row + place * gate_step, within, 0.0).to(tl.float32)
    u = tl.load(up + row * up_row + place * up_step, within, 0.0).to(tl.float32)
    dy = tl.load(grad + row * width + column, within, 0.0).to(tl.float32)
    cut_g, cut_u = _cut(g, u, LIMIT)
    y, slope = _shaped(cut_g, ACT, ALPHA)
    dg, du = dy * slope * (cut_u + OFFSET), dy * y
    if LIMIT is not None:
        dg = tl.where(g > LIMIT, 0.0, dg)
        du = tl.where((u > LIMIT) | (u < -LIMIT), 0.0, du)
    tl.store(grad_gate + row * grad_row + place, dg.to(grad_gate.dtype.element_ty), within)
    tl.store(grad_up + row * grad_row + place, du.to(grad_up.dtype.element_ty), within)


def glu(gate, up, act, *, limit=None, offset=0):
    """gate, up [..., I] of one dtype, strided as they may be -> [..., I]. act: (name, alpha)."""
    return _Glu.apply(gate, up, gate.shape[-1], True, (*act, limit, offset))


def glu_of_rows(h, act, *, block, gate_first=True, limit=None, offset=0):
    """h [..., 2I], in blocks of `block` columns of gate and as many of up (or up first) -> [..., I]."""
    return _Glu.apply(h, None, block, gate_first, (*act, limit, offset))


class _Glu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gate, up, block, gate_first, constants):
        ctx.save_for_backward(gate, up)
        ctx.block, ctx.gate_first, ctx.constants = block, gate_first, constants
        ctx.opened, ctx.made, ctx.again = None, None, _again
        return _result(ctx, gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (gate, up), ctx.opened, ctx.made = opened(ctx), None, None
        into = [None if t is None else t.new_empty(t.shape) for t in (gate, up)]
        if grad.numel():
            grad = grad.contiguous()
            grads = _laid(ctx, *into)
            launch, (g, u, strides) = _launch(grad), _laid(ctx, gate, up)
            _backward[launch.grid](
                g, u, grad, *grads[:2], grad.shape[-1], ctx.block, *strides, grads[2][0], *ctx.constants, launch.block
            )
        return *into, None, None, None


def _result(ctx, gate, up):
    out = gate.new_empty(gate.shape if up is not None else (*gate.shape[:-1], gate.shape[-1] // 2))
    if out.numel():
        launch, (g, u, strides) = _launch(out), _laid(ctx, gate, up)
        _forward[launch.grid](g, u, out, out.shape[-1], ctx.block, *strides, *ctx.constants, launch.block)
    return out


def _again(node):
    """The output, once for all that read it on the way back (see `forgetting`)."""
    if node.made is None:
        node.made = _result(node, *opened(node))
    return node.made


def _laid(ctx, gate, up):
    """Where the first row's gate and up begin, and the strides of rows and columns of each."""
    if up is None:
        first = gate.reshape(-1, gate.shape[-1])
        second = first[:, ctx.block :]
        gate, up = (first, second) if ctx.gate_first else (second, first)
    else:
        gate, up = (t.reshape(-1, t.shape[-1]) for t in (gate, up))
    return gate, up, (gate.stride(0), up.stride(0), gate.stride(1), up.stride(1))


class _Launch(NamedTuple):
    grid: tuple[int, int]
    block: int


def _launch(out):
    """A program for each row of out [..., I] and some of its columns."""
    width = out.shape[-1]
    block = min(BLOCK, triton.next_power_of_2(width))
    return _Launch((out.numel() // width, triton.cdiv(width, block)), block)
