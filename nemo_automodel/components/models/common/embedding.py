"""Token embeddings that scale what they look up, and positions that are computed."""

import math

import torch
from torch import nn

from nemo_automodel.components.models.common.functional import cast


class ScaledEmbedding(nn.Embedding):
    """ids [B, S] -> [B, S, H], times `scale` rounded to the weight's dtype (Gemma)."""

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None, *, scale):
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        self.scale = scale

    def forward(self, ids):
        return super().forward(ids) * self.factor()

    def factor(self):
        return cast(self.scale, self.weight)


class Float32ScaledEmbedding(ScaledEmbedding):
    """The same with the scale as it is: only the product is rounded (BioGPT, XGLM)."""

    def factor(self):
        return self.scale


class SinusoidalPositions(nn.Module):
    """Positions [B, S] -> [B, S, H], computed in fp32: the sines of all angles, then their cosines.

    rule: `base` spaces the wavelengths by 10000 ** (2 / H) (Vaswani et al. 2017); `tensor2tensor` by a power with the
    last of them at 10000, as that library and fairseq do. Raises ValueError for an odd width or another rule.
    """

    def __init__(self, dim, rule="base"):
        super().__init__()
        if dim % 2:
            raise ValueError(f"sinusoidal positions need an even width, not {dim}")
        if rule not in ("base", "tensor2tensor"):
            raise ValueError(f"rule {rule!r} is neither base nor tensor2tensor")
        self.dim, self.rule = dim, rule

    def frequencies(self, device):
        """[H / 2], in radians a position."""
        count = torch.arange(self.dim // 2, device=device, dtype=torch.float32)
        if self.rule == "base":
            return 1 / torch.pow(10000, 2 * count / self.dim)
        return torch.exp(count * -(math.log(10000) / (self.dim // 2 - 1)))

    def forward(self, positions, dtype):
        angles = positions[..., None].float() * self.frequencies(positions.device)
        return torch.cat((angles.sin(), angles.cos()), dim=-1).to(dtype)
