"""One linear layer for each expert as one operator, which compilers keep as it is."""

import torch
from torch import Tensor

from nemo_automodel.components.moe.fastest import fastest


@torch.library.custom_op("nemo_automodel::grouped_linear", mutates_args=())
def grouped_linear(x: Tensor, weights: Tensor, offs: Tensor) -> Tensor:
    """x [S, A], weights [E, B, A], ends of the experts' rows [E] -> x @ weights[e]^T [S, B], 0 after the last end.

    What `torch.nn.functional.grouped_mm` computes of transposed weights, which torch 2.13 traces in bfloat16 alone; on
    a CPU faster.
    """
    return _all_rows(x, weights.transpose(1, 2), *_block(offs))


@grouped_linear.register_fake
def _(x, weights, offs):
    return x.new_empty((x.shape[0], weights.shape[1]))


@torch.library.custom_op("nemo_automodel::grouped_linear_backward", mutates_args=())
def _backward(grad: Tensor, x: Tensor, weights: Tensor, offs: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by x and by the weights."""
    block, end = _block(offs)
    grad_weights = weights.new_empty(weights.shape)
    for expert in set(range(len(weights))) - {expert for expert, _ in block}:
        grad_weights[expert] = 0
    fastest(x, *weights.shape[1:]).grad_products(grad[:end], x[:end], block, grad_weights)
    return _all_rows(grad, weights, block, end), grad_weights


@_backward.register_fake
def _(grad, x, weights, offs):
    return x.new_empty(x.shape), weights.new_empty(weights.shape)


def _all_rows(x, weights, block, end):
    out = x.new_empty((x.shape[0], weights.shape[2]))
    out[end:] = 0
    fastest(x, *weights.shape[1:]).products(x[:end], weights, block, out[:end])
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


grouped_linear.register_autograd(_differentiate, setup_context=_keep)
