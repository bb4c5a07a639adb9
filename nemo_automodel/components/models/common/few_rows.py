"""Linear layers of a few rows on a CPU, as a model multiplies them that writes one token after the other.

What takes the time is to read the weight, which PyTorch's product does at half the speed of memory. Where it is slow
for many rows too (`simd.is_best_of_many_rows`), the extension also multiplies the text that is gone on with.
Quantisers and adapters ask whether `type(layer) is nn.Linear`: so layers are of a class of their own for the time of
`generate` alone.
"""

from collections import Counter
from contextlib import contextmanager
from threading import Lock

from torch import nn

from nemo_automodel.components.models.common import simd

ROWS = 8  # that are multiplied while a weight is read once
NUMBERS = 2**17  # of a weight, from which on reading it takes longer than the call
USERS, LOCK = Counter(), Lock()  # how many generations are under way that read a layer


class FewRowsLinear(nn.Linear):
    """x [..., A] -> [..., B]: a few rows without gradients by the extension, all else as nn.Linear, of which its copies
    and pickles are."""

    def forward(self, x):
        product = _product(x, self.weight, self.bias)
        return product(x, self.weight, self.bias) if product else super().forward(x)

    def __reduce_ex__(self, protocol):
        _, _, *state = super().__reduce_ex__(protocol)
        return object.__new__, (nn.Linear,), *state


def is_few(x, weight, bias):
    """Whether `simd.linear` computes what F.linear would: of 1 to ROWS rows."""
    return _product(x, weight, bias) is simd.linear


def _product(x, weight, bias):
    """What of the extension computes what F.linear would, of a weight that lies row by row, and faster; or None."""
    if not _is_readable(x, weight, bias) or not x.numel():  # the first also where lengths are symbols: it asks for none
        return None
    if x.shape[:-1].numel() <= ROWS:
        return simd.linear
    return simd.linear_of_many if simd.is_best_of_many_rows(x.dtype) else None


def _is_readable(x, weight, bias):
    if not simd.suits(x, weight) or x.shape[-1:] != weight.shape[1:] or weight.shape[0] % simd.LANES:
        return False
    if bias is not None and (not simd.suits(x, bias) or bias.shape != weight.shape[:1]):
        return False
    return weight.is_contiguous()


@contextmanager
def few_rows(model):
    """Meanwhile linear layers of the model are `FewRowsLinear` where that may be faster. Generations may be nested, or
    run beside each other."""
    layers = [module for module in model.modules() if _may_gain(module)]
    _count(layers, 1)
    try:
        yield
    finally:
        _count(layers, -1)


def _may_gain(module):
    """A linear layer that nobody watches, with a large weight on a CPU that has the extension's instructions."""
    if type(module) not in (nn.Linear, FewRowsLinear) or module._forward_hooks or module._forward_pre_hooks:
        return False
    weight = module.weight
    if type(weight) is not nn.Parameter or weight.device.type != "cpu" or weight.numel() < NUMBERS:
        return False
    return simd.is_best(weight.dtype, *weight.shape)


def _count(layers, change):
    with LOCK:
        for layer in layers:
            USERS[layer] += change
            layer.__class__ = FewRowsLinear if USERS[layer] else nn.Linear
            if not USERS[layer]:
                del USERS[layer]
