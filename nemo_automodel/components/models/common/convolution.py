"""A causal depthwise convolution as a sum over its taps, and as one node of autograd, which reads memory once each way.

B batch, S positions, H channels, K taps. Sums are taken in fp32 or wider, in the order of the taps, and rounded once.
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from nemo_automodel.components.models.common.row_blocks import block_bytes


def by_taps(x, weight, bias, before, documents):
    """x [B, S, H], weight [H, K], bias [H], before [B, K - 1, H], documents [1 or B, S] -> y [B, S, H].

    before: what comes before x. bias and documents may be None: none, and one document.
    """
    taps, length = weight.shape[-1], x.shape[1]
    wide = torch.promote_types(x.dtype, torch.float32)
    padded = torch.cat((before, x), dim=1)
    y = 0 if bias is None else bias.to(wide)
    for tap in range(taps):
        earlier = padded[:, tap : tap + length]
        if documents is not None:
            earlier = earlier * same(documents, taps - 1 - tap)
        y = y + earlier * weight[:, tap].to(wide)
    return y.to(x.dtype)


def same(documents, distance):
    """[1 or B, S, 1]: whether the token that stands so far before belongs to the same document."""
    return (nn.functional.pad(documents, (distance, 0), value=-1)[:, : documents.shape[1]] == documents)[..., None]


class Convolution(torch.autograd.Function):
    """`by_taps`, a few tokens at a time: what is read once a tap then still lies in the cache of a core."""

    @staticmethod
    def forward(ctx, x, weight, bias, before, documents):
        ctx.save_for_backward(x, weight, bias, before, documents)
        y, factors = torch.empty_like(x, memory_format=torch.contiguous_format), _factors(x, weight)
        for start, stop in _blocks(x):
            total = 0 if bias is None else bias.to(factors.dtype)
            for factor, earlier in zip(factors, _earlier(x, before, documents, start, stop, factors), strict=True):
                total = total + earlier * factor
            y[:, start:stop] = total
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, bias, before, documents = ctx.saved_tensors
        factors = _factors(x, weight)
        grad_x, grad_factors, grad_bias = torch.empty_like(x), torch.zeros_like(factors), torch.zeros_like(factors[0])
        for start, stop in _blocks(x):
            wide = grad[:, start:stop].to(factors.dtype)
            grad_bias += wide.sum((0, 1))
            for total, earlier in zip(grad_factors, _earlier(x, before, documents, start, stop, factors), strict=True):
                total += (earlier * wide).sum((0, 1))
            grad_x[:, start:stop] = _spread(grad, documents, start, stop, factors)
        grad_before = _spread(grad, documents, 1 - len(factors), 0, factors).to(x.dtype)
        grad_weight = grad_factors.mT.to(weight.dtype)
        return grad_x, grad_weight, None if bias is None else grad_bias.to(bias.dtype), grad_before, None


def _factors(x, weight):
    """[K, H], wide."""
    return weight.mT.to(torch.promote_types(x.dtype, torch.float32)).contiguous()


def _blocks(x):
    """(start, stop) of so many tokens that a few tensors of them fit; all on a device that is not a CPU."""
    rows, length = x.shape[1], x.shape[1]
    if x.device.type == "cpu":
        rows = max(1, block_bytes() // (16 * len(x) * x.shape[-1]))
    return [(start, min(start + rows, length)) for start in range(0, length, rows)]


def _earlier(x, before, documents, start, stop, factors):
    """What the tokens of a block see through each tap, the farthest first: [B, stop - start, H] each."""
    reach = len(factors) - 1
    window = x[:, max(start - reach, 0) : stop]
    if start < reach:
        window = torch.cat((before[:, start:], window), dim=1)
    window = window.to(factors.dtype)
    for tap in range(reach + 1):
        earlier = window[:, tap : tap + stop - start]
        yield earlier if documents is None else earlier * same(documents, reach - tap)[:, start:stop]


def _spread(grad, documents, start, stop, factors):
    """What the gradients of later tokens are for the inputs from `start`, which may be before the first, to `stop`."""
    reach, length = len(factors) - 1, grad.shape[1]
    total = grad.new_zeros(len(grad), stop - start, grad.shape[-1], dtype=factors.dtype)
    for tap, factor in enumerate(factors):
        distance = reach - tap
        first, last = max(start + distance, 0), min(stop + distance, length)
        if first < last:
            later = grad[:, first:last]
            if documents is not None:
                later = later * same(documents, distance)[:, first:last]
            total[:, first - distance - start : last - distance - start] += later * factor
    return total
