"""Linear layers by the name of their implementation, and those that round their products apart."""

from importlib.util import find_spec

from torch import nn
from torch.nn import functional as F


class LateBiasLinear(nn.Linear):
    """x [..., A] -> [..., B]: the product is rounded to the model's dtype before the bias is added (Falcon)."""

    def forward(self, x):
        y = F.linear(x, self.weight)
        return y if self.bias is None else y + self.bias


def initialize_linear_module(impl, in_features, out_features, bias=False, device=None, dtype=None):
    """A map [..., in_features] -> [..., out_features]; impl is `torch`, `te` (Transformer Engine), or `auto` (torch).

    dtype None is torch's default dtype, which transformers' loader sets: an explicit one survives loading in another.
    Raises ValueError for an unknown impl, ImportError for one that is not installed.
    """
    if impl == "te":
        return transformer_engine().Linear(in_features, out_features, bias=bias, device=device, params_dtype=dtype)
    if impl not in ("torch", "auto"):
        raise ValueError(f"linear implementation {impl!r} is not one of torch, te, auto")
    return nn.Linear(in_features, out_features, bias=bias, device=device, dtype=dtype)


def transformer_engine():
    """Its PyTorch module. Raises ImportError where it is not installed."""
    if find_spec("transformer_engine") is None:
        raise ImportError("backend 'te' needs Transformer Engine: pip install transformer-engine[pytorch], or 'torch'")
    from transformer_engine import pytorch

    return pytorch
