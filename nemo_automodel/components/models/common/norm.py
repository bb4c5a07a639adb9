"""Norms over the last dimension. One class per kind: what is scaled, in which dtype, and how the weight is stored.

Each takes `dim`, a number or a shape whose last entry is normalised (`(heads, head_dim)`: a weight each), and `eps`.
All map x [..., dim] to the same shape and dtype; statistics are taken in fp32.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from nemo_automodel.components.models.common.linear import transformer_engine
from nemo_automodel.components.models.common.rms_norm import FORMS, rms


def standardise(x, eps):
    """x [..., D] in fp32, with mean 0 and variance 1."""
    x = x.float()
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + eps)


class Norm(nn.Module):
    """Holds the weight, the optional bias and the epsilon; `start` is the weight's value before training."""

    start = 1.0
    by = "torch"  # a name of `rms_norm.FORMS`, decided by the backend

    def __init__(self, dim, eps, *, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.bias = nn.Parameter(torch.empty(dim)) if bias else None
        self.eps = eps
        nn.init.constant_(self.weight, self.start)
        if bias:
            nn.init.zeros_(self.bias)

    def initialize(self, std):
        init.constant_(self.weight, self.start)
        if self.bias is not None:
            init.zeros_(self.bias)

    def bind(self, backend):
        self.by = backend.rms_norm

    def scaled(self, x, weight, rounds_first):
        """RMSNorm by the backend's form."""
        return FORMS[self.by](x, weight, self.eps, rounds_first=rounds_first)

    def extra_repr(self):
        return f"{tuple(self.weight.shape)}, eps={self.eps}"


class RMSNorm(Norm):
    """Rounds to x's dtype, then multiplies by the weight (Llama)."""

    def forward(self, x):
        return self.scaled(x, self.weight, rounds_first=True)


class Float32RMSNorm(Norm):
    """Multiplies by the weight in fp32 and rounds once (OLMo 2)."""

    def forward(self, x):
        return self.scaled(x, self.weight, rounds_first=False)


class OffsetRMSNorm(Norm):
    """The weight is stored minus one; rounds to x's dtype, then multiplies."""

    start = 0.0

    def forward(self, x):
        return self.scaled(x, 1.0 + self.weight, rounds_first=True)


class OffsetFloat32RMSNorm(Norm):
    """The weight is stored minus one; multiplies in fp32 and rounds once (Gemma)."""

    start = 0.0

    def forward(self, x):
        if self.by == "torch_fused":  # whose weight has x's dtype
            return self.scaled(x, 1.0 + self.weight, rounds_first=False)
        return self.scaled(x, 1.0 + self.weight.float(), rounds_first=False)


class UnitRMSNorm(nn.Module):
    """No weight: x over its root mean square, rounded to x's dtype (Llama 4's QK-norm)."""

    def __init__(self, dim, eps):
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x):
        return rms(x, self.eps).to(x.dtype)


class UnitLayerNorm(nn.Module):
    """No weight: standardises in fp32 and rounds once (OLMo).

    torch's kernel without weight keeps the statistics of a bf16 input in bf16, which its backward pass reads.
    """

    def __init__(self, dim, eps):
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x):
        return F.layer_norm(x.float(), (self.dim,), eps=self.eps).to(x.dtype)


class Float32LayerNorm(Norm):
    """Standardises, multiplies in fp32 and rounds once (Cohere)."""

    def forward(self, x):
        y = self.weight.float() * standardise(x, self.eps)
        return (y if self.bias is None else y + self.bias.float()).to(x.dtype)


class OffsetLayerNorm(Norm):
    """torch's LayerNorm over a weight that is stored minus one, and starts at one: a scale of two (Nemotron)."""

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight + 1.0, self.bias, self.eps)


class OffsetFloat32LayerNorm(Norm):
    """The weight is stored minus one; standardises, multiplies in fp32 and rounds once."""

    start = 0.0

    def forward(self, x):
        y = (1.0 + self.weight.float()) * standardise(x, self.eps)
        return (y if self.bias is None else y + self.bias.float()).to(x.dtype)


class PerHeadNorms(nn.Module):
    """One norm module a head, stored as `norms.<head>.weight`: x [B, N, S, D] -> [B, N, S, D] (StableLM)."""

    def __init__(self, make_norm, heads):
        super().__init__()
        self.norms = nn.ModuleList(make_norm() for _ in range(heads))

    def forward(self, x):
        return torch.stack([norm(head) for norm, head in zip(self.norms, x.unbind(1), strict=True)], dim=1)


def initialize_rms_norm_module(impl, dim, eps=1e-5, device=None, dtype=None):
    """An RMSNorm over `dim`; impl: `torch` or `auto` (Llama's rounding), `torch_fp32` (one rounding), `te`.

    dtype None is torch's default dtype, which transformers' loader sets: an explicit one survives loading in another.
    Raises ValueError for an unknown impl, ImportError for one that is not installed.
    """
    if impl == "te":
        return transformer_engine().RMSNorm(dim, eps=eps, device=device, dtype=dtype or torch.get_default_dtype())
    kinds = {"torch": RMSNorm, "auto": RMSNorm, "torch_fp32": Float32RMSNorm}
    if impl not in kinds:
        raise ValueError(f"RMSNorm implementation {impl!r} is not one of {', '.join(kinds)}, te")
    return kinds[impl](dim, eps).to(device=device, dtype=dtype)
