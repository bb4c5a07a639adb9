"""One matrix product for each expert, on its own rows: as functions, and as an operator for compilers."""

import torch
from torch import Tensor


def products(x, weights, block, out, bias=None):
    """out = x @ weights[e] (+ bias[e]) for each expert's rows: x [S, A], weights [E, A, B] -> out [S, B].

    `block` is [(expert, rows), ...] in the order of the rows.
    """
    if not block:
        return out
    first, last = block[0][0], block[-1][0]
    weights = weights[first : last + 1].unbind(0)  # one by one would take longer than a small product
    for expert, x_rows, out_rows in slices(block, x, out):
        if bias is None:
            torch.mm(x_rows, weights[expert - first], out=out_rows)
        else:
            torch.addmm(bias[expert], x_rows, weights[expert - first], out=out_rows)
    return out


def grad_products(grad, x, block, out):
    """out[e] = grad^T @ x for each expert's rows: grad [S, A], x [S, B], out [E, A, B] or None."""
    if out is not None:
        for expert, grad_rows, x_rows in slices(block, grad, x):
            torch.mm(grad_rows.t(), x_rows, out=out[expert])


def slices(block, *rows):
    """(expert, its part of each of `rows`) for the experts of a block."""
    sizes = [size for _, size in block]
    return zip((expert for expert, _ in block), *(each.split(sizes) for each in rows), strict=True)


@torch.library.custom_op("nemo_automodel::grouped_product", mutates_args=())
def grouped_product(x: Tensor, weights: Tensor, offs: Tensor) -> Tensor:
    """x [S, A], weights [E, A, B], ends of the experts' rows [E] -> [S, B], 0 after the last end.

    What `torch.nn.functional.grouped_mm` computes, which torch 2.13 traces in bfloat16 alone.
    """
    return _all_rows(x, weights, *_block(offs))


@grouped_product.register_fake
def _(x, weights, offs):
    return _room(x, weights)


@torch.library.custom_op("nemo_automodel::grouped_product_backward", mutates_args=())
def _backward(grad: Tensor, x: Tensor, weights: Tensor, offs: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by x and by the weights."""
    block, end = _block(offs)
    grad_weights = torch.zeros_like(weights, memory_format=torch.contiguous_format)
    grad_products(x[:end], grad[:end], block, grad_weights)
    return _all_rows(grad, weights.transpose(1, 2), block, end), grad_weights


@_backward.register_fake
def _(grad, x, weights, offs):
    return _room(grad, weights.transpose(1, 2)), torch.empty_like(weights, memory_format=torch.contiguous_format)


def _room(x, weights):
    return x.new_empty((x.shape[0], weights.shape[2]))


def _all_rows(x, weights, block, end):
    out = _room(x, weights)
    out[end:] = 0
    products(x[:end], weights, block, out[:end])
    return out


def _block(offs):
    """[(expert, rows), ...] of those that have rows, and where they end."""
    ends = offs.tolist()
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return [(expert, size) for expert, size in enumerate(sizes) if size], ends[-1]


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, grad):
    return *_backward(grad.contiguous(), *ctx.saved_tensors), None


grouped_product.register_autograd(_differentiate, setup_context=_keep)
