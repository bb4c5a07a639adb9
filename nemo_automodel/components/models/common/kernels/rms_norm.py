"""RMSNorm as one kernel each way, with the addition in front of it or without, in the two orders of rounding.

The node keeps what is normalised and one number a row. Rows are read where they lie: heads of a packed projection are
not copied. The weight's gradient is summed by a few programs, then over those: no atomics, so it is deterministic.
"""

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from nemo_automodel.components.models.common.forgetting import opened
from nemo_automodel.components.models.common.row_blocks import as_rows, from_rows, row_order

AT_ONCE = 4096  # entries that a program takes, where rows are shorter
PROGRAMS = 512  # that sum a weight's gradient, at most


@triton.jit
def _start(row, n1, n2, s0, s1, s2):
    """Where the rows begin of a tensor whose leading dimensions have sizes (any, n1, n2) and strides s."""
    row = row.to(tl.int64)
    return row // n2 // n1 * s0 + row // n2 % n1 * s1 + row % n2 * s2


@triton.jit
def _tile(first, rows, width, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """(numbers of rows [ROWS], columns [1, BLOCK], which entries exist)."""
    row, column = first * ROWS + tl.arange(0, ROWS), tl.arange(0, BLOCK)[None, :]
    return row, column, (row < rows)[:, None] & (column < width)


@triton.jit
def _forward(
    x,
    added,
    weight,
    total,
    out,
    scale,
    rows,
    width,
    n1,
    n2,
    s0,
    s1,
    s2,
    EPS: tl.constexpr,
    ROUNDS_FIRST: tl.constexpr,
    ADDS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, column, within = _tile(tl.program_id(0), rows, width, ROWS, BLOCK)
    dense = row.to(tl.int64)[:, None] * width + column
    value = tl.load(x + _start(row, n1, n2, s0, s1, s2)[:, None] + column, within, 0.0)
    if ADDS:
        value = (value.to(tl.float32) + tl.load(added + dense, within, 0.0).to(tl.float32)).to(value.dtype)
        tl.store(total + dense, value, within)
    unit = value.to(tl.float32)
    s = tl.rsqrt(tl.sum(unit * unit, axis=1) / width + EPS)
    unit = unit * s[:, None]
    if ROUNDS_FIRST:
        unit = unit.to(out.dtype.element_ty).to(tl.float32)
    w = tl.load(weight + column, column < width, 0.0).to(tl.float32)
    tl.store(out + dense, (w * unit).to(out.dtype.element_ty), within)
    tl.store(scale + row, s, row < rows)


@triton.jit
def _backward(
    x,
    weight,
    scale,
    grad,
    grad_total,
    grad_x,
    sums,
    rows,
    width,
    tiles_each,
    n1,
    n2,
    s0,
    s1,
    s2,
    ADDS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    w = tl.load(weight + columns, columns < width, 0.0).to(tl.float32)[None, :]
    grad_weight = tl.zeros([BLOCK], dtype=tl.float32)
    for tile in range(program * tiles_each, (program + 1) * tiles_each):
        row, column, within = _tile(tile, rows, width, ROWS, BLOCK)
        dense = row.to(tl.int64)[:, None] * width + column
        value = tl.load(x + _start(row, n1, n2, s0, s1, s2)[:, None] + column, within, 0.0).to(tl.float32)
        g = tl.load(grad + dense, within, 0.0).to(tl.float32)
        s = tl.load(scale + row, row < rows, 0.0)[:, None]
        unit = value * s
        grad_weight += tl.sum(g * unit, axis=0)
        g = g * w
        found = (g - unit * (tl.sum(g * unit, axis=1) / width)[:, None]) * s
        if ADDS:
            found += tl.load(grad_total + dense, within, 0.0).to(tl.float32)
        tl.store(grad_x + dense, found.to(grad_x.dtype.element_ty), within)
    tl.store(sums + program * width + columns, grad_weight, columns < width)


def rms_norm(x, weight, eps, *, rounds_first):
    """x [..., D], weight [D] -> [..., D], in the order of memory of x."""
    return _RMSNorm.apply(x, None, weight, eps, rounds_first)


def add_rms_norm(x, y, weight, eps, *, rounds_first):
    """x, y [..., D], weight [D] -> x + y, rounded to their dtype, and its norm."""
    return _RMSNorm.apply(x, y, weight, eps, rounds_first)[::-1]


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, added, weight, eps, rounds_first):
        ctx.constants, ctx.opened, ctx.made, ctx.again = (eps, rounds_first), None, None, _again
        out, total, scale = _normalised(x, added, weight, *ctx.constants)
        ctx.save_for_backward(x if total is None else total, weight, scale)
        return out if total is None else (out, total)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, *grad_total):
        (x, weight, scale), ctx.opened, ctx.made = opened(ctx), None, None
        order, width = row_order(x), x.shape[-1]
        grad, *grad_total = (as_rows(one, order).contiguous() for one in (grad, *grad_total))
        (start, *strides), rows, launch = _strided(x, order), len(grad), _launch(width)
        tiles = triton.cdiv(rows, launch["ROWS"])
        each = max(1, triton.cdiv(tiles, PROGRAMS))
        grad_x, sums = torch.empty_like(grad), grad.new_zeros((triton.cdiv(tiles, each), width), dtype=torch.float32)
        if grad.numel():
            total = grad_total[0] if grad_total else None
            _backward[len(sums),](
                start, weight, scale, grad, total, grad_x, sums, rows, width, each, *strides, bool(grad_total), **launch
            )
        grad_x = from_rows(grad_x, x, order)
        return grad_x, grad_x if grad_total else None, sums.sum(0).to(weight.dtype), None, None


def _normalised(x, added, weight, eps, rounds_first):
    """(norm of x + added, that sum or None where nothing is added, scale of each row); the former two lie as x does."""
    order, width = row_order(x), x.shape[-1]
    (start, *strides), launch = _strided(x, order), _launch(width)
    rows = x.numel() // max(width, 1)
    out, scale = x.new_empty((rows, width)), x.new_empty(rows, dtype=torch.float32)
    added = None if added is None else as_rows(added, order).contiguous()
    total = None if added is None else torch.empty_like(out)
    if out.numel():
        constants = eps, rounds_first, added is not None
        _forward[triton.cdiv(rows, launch["ROWS"]),](
            start, added, weight, total, out, scale, rows, width, *strides, *constants, **launch
        )
    return from_rows(out, x, order), None if total is None else from_rows(total, x, order), scale


def _again(node):
    """The norm, once for all that read it on the way back (see `forgetting`)."""
    if node.made is None:
        x, weight, _ = opened(node)
        node.made, *_ = _normalised(x, None, weight, *node.constants)
    return node.made


def _strided(x, order):
    """x and how its rows lie in the order of memory: two sizes and three strides, of as many leading dimensions."""
    x = x.permute(order)
    if x.dim() > 4 or x.stride(-1) != 1:
        x = x.reshape(-1, x.shape[-1]).contiguous()
    x = x[(None,) * (4 - x.dim())]
    return x, x.shape[1], x.shape[2], *x.stride()[:3]


def _launch(width):
    """The shape of a program's tile, and its warps."""
    block = triton.next_power_of_2(width)
    rows = max(1, AT_ONCE // block)
    return {"ROWS": rows, "BLOCK": block, "num_warps": min(max(rows * block // 1024, 1), 16)}
