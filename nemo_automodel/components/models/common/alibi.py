"""Attention with linear biases instead of positions (ALiBi, arXiv 2108.12409)."""

import math

import torch
from torch import nn


def alibi_slopes(heads):
    """[N] fp32: 2^(-8i/n), n = heads rounded up to a power of two.

    Where n is larger than heads the even i come first, then the odd.
    """
    n = 2 ** math.ceil(math.log2(heads))
    slopes = 2.0 ** (-torch.arange(1, n + 1).float() * 8 / n)
    return slopes if n == heads else torch.cat([slopes[1::2], slopes[::2]])[:heads]


class Alibi(nn.Module):
    """Biases of the scores, growing with the key's position: the softmax sees only their differences.

    `scale` multiplies the bias as it multiplies the scores, `dtype` rounds slopes and products
    (Falcon: bfloat16). `from_end`: counted back from the last key, padding too, and not from a text's first token;
    `sum_dtype`: of the sum with the scores, None for the model's (MPT: both otherwise than BLOOM).
    """

    def __init__(self, heads, *, scale=1.0, dtype=torch.float32, from_end=False, sum_dtype=None):
        super().__init__()
        self.heads, self.scale, self.dtype = heads, scale, dtype
        self.from_end, self.sum_dtype = from_end, sum_dtype

    def positions(self, attention_mask, length, device):
        """Where keys stand, [1 or B, T]: counted from the end, or those that are not padding."""
        if self.from_end:
            return torch.arange(1 - length, 1, device=device)[None]
        if attention_mask is None or attention_mask.dim() != 2:
            return torch.arange(length, device=device)[None]
        counted = ((attention_mask.cumsum(-1) - 1) * attention_mask)[:, :length]
        return nn.functional.pad(counted, (0, length - counted.shape[-1]))

    @torch.no_grad()
    def forward(self, positions):
        """Key positions [B, T] -> fp32 [B, N, 1, T]."""
        slopes = alibi_slopes(self.heads).to(positions.device, self.dtype)
        return (slopes[None, :, None, None] * positions[:, None, None, :].to(self.dtype)).float() * self.scale
