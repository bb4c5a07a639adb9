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
    (Falcon: bfloat16).
    """

    def __init__(self, heads, *, scale=1.0, dtype=torch.float32):
        super().__init__()
        self.heads, self.scale, self.dtype = heads, scale, dtype

    @torch.no_grad()
    def forward(self, positions):
        """Key positions [B, T] -> fp32 [B, N, 1, T]."""
        slopes = alibi_slopes(self.heads).to(positions.device, self.dtype)
        return (slopes[None, :, None, None] * positions[:, None, None, :].to(self.dtype)).float() * self.scale
