"""The rotation of queries or keys as one kernel, which is its own backward with the sine turned round.

Heads [B, N, S, D] are read where they lie, so those of a packed projection are not copied, and written as [B, S, N, D],
which attention's output follows. With the weight of a norm, heads are normalised before they turn: one pass from the
projection to attention, of which the projection and one number a head are kept.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

AT_ONCE = 4096  # entries of heads that a program takes


@triton.jit
def _turn(
    x,
    cos,
    sin,
    weight,
    out,
    scale,
    length,
    heads,
    half,
    width,
    xb,
    xs,
    xn,
    tb,
    ts,
    EPS: tl.constexpr,
    SIGN: tl.constexpr,
    PAIRS: tl.constexpr,
    NORMS: tl.constexpr,
    ROUNDS_FIRST: tl.constexpr,
    HEADS: tl.constexpr,
    HALF: tl.constexpr,
    REST: tl.constexpr,
):
    token, head = tl.program_id(0).to(tl.int64), tl.program_id(1) * HEADS + tl.arange(0, HEADS)[:, None]
    pair = tl.arange(0, HALF)[None, :]
    first, second = (2 * pair, 2 * pair + 1) if PAIRS else (pair, pair + half)
    here = x + token // length * xb + token % length * xs + head.to(tl.int64) * xn
    there = out + (token * heads + head) * width
    within = (head < heads) & (pair < half)
    a = tl.load(here + first, within, 0.0).to(tl.float32)
    b = tl.load(here + second, within, 0.0).to(tl.float32)
    if REST > 0:
        rest = 2 * half + tl.arange(0, REST)[None, :]
        beside = (head < heads) & (rest < width)
        r = tl.load(here + rest, beside, 0.0).to(tl.float32)
    if NORMS:
        squares = tl.sum(a * a + b * b, axis=1)
        if REST > 0:
            squares += tl.sum(r * r, axis=1)
        s = tl.rsqrt(squares / width + EPS)[:, None]
        tl.store(scale + token * heads + head, s, head < heads)
        a, b = a * s, b * s
        if ROUNDS_FIRST:
            a, b = a.to(out.dtype.element_ty).to(tl.float32), b.to(out.dtype.element_ty).to(tl.float32)
        a *= tl.load(weight + first, pair < half, 0.0).to(tl.float32)
        b *= tl.load(weight + second, pair < half, 0.0).to(tl.float32)
        if REST > 0:
            r = r * s
            if ROUNDS_FIRST:
                r = r.to(out.dtype.element_ty).to(tl.float32)
            r *= tl.load(weight + rest, rest < width, 0.0).to(tl.float32)
    angle = token // length * tb + token % length * ts + pair
    c = tl.load(cos + angle, pair < half, 0.0).to(tl.float32)
    d = tl.load(sin + angle, pair < half, 0.0).to(tl.float32) * SIGN
    tl.store(there + first, (a * c - b * d).to(out.dtype.element_ty), within)
    tl.store(there + second, (b * c + a * d).to(out.dtype.element_ty), within)
    if REST > 0:
        tl.store(there + rest, r.to(out.dtype.element_ty), beside)


@triton.jit
def _norms_back(
    x,
    weight,
    scale,
    grad,
    grad_x,
    sums,
    length,
    heads,
    width,
    xb,
    xs,
    xn,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Of heads that were normalised: grad [B, S, N, D] fp32 is what is turned back; a token's share of the weight's."""
    token, head = tl.program_id(0).to(tl.int64), tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    w = tl.load(weight + column, column < width, 0.0).to(tl.float32)
    grad_weight = tl.zeros([WIDTH], dtype=tl.float32)
    for start in range(0, heads, HEADS):
        one = start + head
        within = (one < heads) & (column < width)
        here = x + token // length * xb + token % length * xs + one.to(tl.int64) * xn
        dense = (token * heads + one) * width + column
        s = tl.load(scale + token * heads + one, one < heads, 0.0)
        unit = tl.load(here + column, within, 0.0).to(tl.float32) * s
        g = tl.load(grad + dense, within, 0.0)
        grad_weight += tl.sum(g * unit, axis=0)
        g = g * w
        found = (g - unit * (tl.sum(g * unit, axis=1) / width)[:, None]) * s
        tl.store(grad_x + dense, found.to(grad_x.dtype.element_ty), within)
    columns = tl.arange(0, WIDTH)
    tl.store(sums + token * width + columns, grad_weight, columns < width)


class Turn(NamedTuple):
    """How heads turn. pairs: entries (2i, 2i + 1) and not (i, i + R/2). sign: -1 turns the other way.

    eps, rounds_first: of a norm before, as of `rms_norm`.
    """

    pairs: bool = False
    sign: int = 1
    eps: float = 0.0
    rounds_first: bool = True


def turned(x, cos, sin, turn, weight=None):
    """x [B, N, S, D], cos, sin [B or 1, S, R/2] -> [B, N, S, D] with the first R entries turned, after a norm with the
    weight [D], if one is given."""
    return _Turned.apply(x, cos, sin, weight, turn)


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cos, sin, weight, turn):
        cos, sin, ctx.turn = cos.contiguous(), sin.contiguous(), turn
        out, scale = _turned(x, cos, sin, turn, weight)
        ctx.save_for_backward(*(None if weight is None else t for t in (x, weight, scale)), cos, sin)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, scale, cos, sin = ctx.saved_tensors
        back = ctx.turn._replace(sign=-ctx.turn.sign)
        if weight is None:
            return _turned(grad, cos, sin, back)[0], None, None, None, None
        grad, _ = _turned(grad, cos, sin, back, dtype=torch.float32)
        return *_normalised_back(x, weight, scale, grad), None


def _turned(x, cos, sin, turn, weight=None, dtype=None):
    """([B, N, S, D] that lies as [B, S, N, D], in x's dtype or another; scales [B, S, N] of a norm, or None)."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    rows, heads, length, width = x.shape
    out = x.new_empty((rows, length, heads, width), dtype=dtype)
    scale = None if weight is None else x.new_empty((rows, length, heads), dtype=torch.float32)
    half = cos.shape[-1]
    rest, at_once = width - 2 * half, _heads(heads, width)
    if out.numel():
        _turn[rows * length, triton.cdiv(heads, at_once)](
            *(x, cos, sin, weight, out, scale, length, heads, half, width),
            *(x.stride(0), x.stride(2), x.stride(1), cos.stride(0) if len(cos) > 1 else 0, cos.stride(1)),
            *(turn.eps, turn.sign, turn.pairs, weight is not None, turn.rounds_first),
            *(at_once, triton.next_power_of_2(half), triton.next_power_of_2(rest) if rest else 0),
        )
    return out.transpose(1, 2), scale


def _normalised_back(x, weight, scale, grad):
    """(gradient by x, None, None, by the weight) of that by the norm [B, N, S, D], which lies as [B, S, N, D]."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    rows, heads, length, width = x.shape
    grad_x = x.new_empty((rows, length, heads, width))
    sums = grad.new_zeros((rows * length, width))
    if grad.numel():
        _norms_back[rows * length,](
            *(x, weight, scale, grad, grad_x, sums, length, heads, width, x.stride(0), x.stride(2), x.stride(1)),
            *(_heads(heads, width), triton.next_power_of_2(width)),
        )
    return grad_x.transpose(1, 2), None, None, sums.sum(0).to(weight.dtype)


def _heads(heads, width):
    """How many a program takes."""
    return min(triton.next_power_of_2(heads), max(1, AT_ONCE // triton.next_power_of_2(width)))
