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
        y, taps = torch.empty_like(x, memory_format=torch.contiguous_format), Taps(x, weight, bias, documents)
        for start, stop in taps.blocks:
            y[:, start:stop] = taps.summed(_window(x, before, start, stop, taps), start, stop)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, bias, before, documents = ctx.saved_tensors
        grad_x, taps = torch.empty_like(x), Taps(x, weight, bias, documents)
        for start, stop in taps.blocks:
            taps.collect(_window(x, before, start, stop, taps), grad[:, start:stop], start, stop)
            grad_x[:, start:stop] = taps.spread(grad[:, start : stop + taps.reach], start, stop)
        grad_before = taps.spread(grad[:, : taps.reach], -taps.reach, 0).to(x.dtype)
        return grad_x, *taps.gradients(), grad_before, None


class GatedConvolution(torch.autograd.Function):
    """C * by_taps(B * x), all [B, S, H]; both products are computed again on the way back."""

    @staticmethod
    def forward(ctx, B, C, x, weight, bias, documents):
        ctx.save_for_backward(B, C, x, weight, bias, documents)
        y, taps = torch.empty_like(x, memory_format=torch.contiguous_format), Taps(x, weight, bias, documents)
        for start, stop in taps.blocks:
            y[:, start:stop] = C[:, start:stop] * taps.summed(_product(B, x, start, stop, taps), start, stop).to(
                x.dtype
            )
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        B, C, x, weight, bias, documents = ctx.saved_tensors
        taps, (grad_B, grad_C, grad_x) = Taps(x, weight, bias, documents), (torch.empty_like(one) for one in (B, C, x))
        for start, stop in taps.blocks:
            here, later, window = slice(start, stop), slice(start, stop + taps.reach), _product(B, x, start, stop, taps)
            grad_C[:, here] = grad[:, here] * taps.summed(window, start, stop)
            of_convolved = grad[:, later] * C[:, later]
            taps.collect(window, of_convolved[:, : stop - start], start, stop)
            of_product = taps.spread(of_convolved, start, stop)
            grad_B[:, here], grad_x[:, here] = of_product * x[:, here], of_product * B[:, here]
        return grad_B, grad_C, grad_x, *taps.gradients(), None


def _window(x, before, start, stop, taps):
    """What the tokens of a block may see of x: [B, reach + stop - start, H]."""
    window = x[:, max(start - taps.reach, 0) : stop]
    return torch.cat((before[:, start:], window), dim=1) if start < taps.reach else window


def _product(B, x, start, stop, taps):
    """The same of B * x, before which nothing comes."""
    seen = slice(max(start - taps.reach, 0), stop)
    return nn.functional.pad(B[:, seen] * x[:, seen], (0, 0, max(taps.reach - start, 0), 0))


class Taps:
    """The weights of a convolution, wide, and their gradients as blocks of tokens bring them.

    blocks: (start, stop) of so many tokens that a few tensors of them fit; all on a device that is not a CPU.
    """

    def __init__(self, x, weight, bias, documents):
        wide = torch.promote_types(x.dtype, torch.float32)
        self.dtypes = weight.dtype, None if bias is None else bias.dtype
        self.factors = weight.mT.to(wide).contiguous()  # [K, H]
        self.bias, self.documents = 0 if bias is None else bias.to(wide), documents
        self.grad, self.grad_bias = torch.zeros_like(self.factors), torch.zeros_like(self.factors[0])
        self.reach, length = len(self.factors) - 1, x.shape[1]
        rows = max(1, block_bytes() // (16 * len(x) * x.shape[-1])) if x.device.type == "cpu" else length
        self.blocks = [(start, min(start + rows, length)) for start in range(0, length, rows)]

    def summed(self, window, start, stop):
        """What a block makes of what it sees, wide: [B, stop - start, H]."""
        total = self.bias
        for factor, earlier in zip(self.factors, self._earlier(window, start, stop), strict=True):
            total = total + earlier * factor
        return total

    def _earlier(self, window, start, stop):
        """What the tokens of a block see through each tap, the farthest first: [B, stop - start, H] each."""
        window = window.to(self.factors.dtype)
        for tap in range(self.reach + 1):
            earlier = window[:, tap : tap + stop - start]
            yield earlier if self.documents is None else earlier * self._same(self.reach - tap, start, stop)

    def _same(self, distance, start, stop):
        return same(self.documents, distance)[:, start:stop]

    def collect(self, window, grad, start, stop):
        """Adds what a block brings for the gradients of weight and bias."""
        grad = grad.to(self.factors.dtype)
        self.grad_bias += grad.sum((0, 1))
        for total, earlier in zip(self.grad, self._earlier(window, start, stop), strict=True):
            total += (earlier * grad).sum((0, 1))

    def gradients(self):
        """Of weight and bias."""
        weight, bias = self.dtypes
        return self.grad.mT.to(weight), None if bias is None else self.grad_bias.to(bias)

    def spread(self, grad, start, stop):
        """What gradients of the tokens from max(start, 0) to stop + reach are for the inputs from start to stop."""
        total = self.grad.new_zeros(len(grad), stop - start, grad.shape[-1])
        first = max(start, 0)
        for tap, factor in enumerate(self.factors):
            distance = self.reach - tap
            begin, end = max(start + distance, 0), min(stop + distance, first + grad.shape[1])
            if begin < end:
                later = grad[:, begin - first : end - first]
                later = later if self.documents is None else later * self._same(distance, begin, end)
                total[:, begin - distance - start : end - distance - start] += later * factor
        return total
