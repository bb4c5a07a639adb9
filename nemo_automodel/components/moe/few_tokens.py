"""The experts of a few tokens, as a model that generates has them: idle experts are not touched, and nothing is sorted
but a short list."""

from itertools import groupby

import torch

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.moe.activation import weigh

CHOICES = 128  # from which rows come together that are better packed


def is_few(x, indices, up, down):
    """Whether `few_tokens` is the fastest: without gradients, for matrices that lie as [E, rows, columns]."""
    if indices.numel() > CHOICES or not (up.is_contiguous() and down.is_contiguous()):
        return False
    return simd.suits(x, up, down) and not (up.shape[1] % simd.LANES or down.shape[1] % simd.LANES)


def few_tokens(x, indices, weights, up, up_bias, down, down_bias, activate):
    """As `blockwise`, without gradients."""
    if activate.is_swiglu and up_bias is None and down_bias is None:
        return simd.few_tokens(x.contiguous(), indices.contiguous(), weights.float().contiguous(), up, down)
    ids = indices.flatten().tolist()
    order = sorted((choice for choice, expert in enumerate(ids) if expert < len(up)), key=ids.__getitem__)
    block = [(expert, len(list(rows))) for expert, rows in groupby(ids[choice] for choice in order)]
    choices = torch.tensor(order, dtype=torch.long)
    rows, factors = x[choices // indices.shape[1]], weights.flatten()[choices, None]
    h = simd.few_rows(rows, up, block, x.new_empty(len(order), up.shape[1]), up_bias)
    hidden = weigh(activate, h, factors, activate.is_swiglu)
    y = x.new_zeros(len(ids), down.shape[1])
    y[choices] = simd.few_rows(hidden, down, block, x.new_empty(len(order), down.shape[1]))
    if down_bias is not None:
        y[choices] += (down_bias[indices.flatten()[choices]] * factors).to(x.dtype)
    return y.view(*indices.shape, -1).sum(1)
