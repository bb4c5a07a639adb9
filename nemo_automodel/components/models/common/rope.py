"""Rotary positions (RoFormer, arXiv 2104.09864): the table of angles, and the layouts in which it turns q and k.

Tables hold no buffer: frequencies follow from numbers in the config, so nothing can be lost on `meta`,
rounded by `model.to(bfloat16)` or left stale by a longer batch.
"""

import torch
from torch import nn

from nemo_automodel.components.models.common.rope_scaling import scaling


class RotaryTable(nn.Module):
    """Positions [B, S] -> cosines and sines [B, S, R/2] each, for R = 2 * ceil(width / 2) rotated dimensions.

    `parameters` is `config.rope_parameters` (or one layer type's), or a number: the base of an unscaled table.
    The table has x's dtype unless `dtype` pins it. Raises ValueError for an unknown `rope_type`.
    """

    def __init__(self, parameters, width, max_positions=None, dtype=None):
        super().__init__()
        parameters = dict(parameters) if hasattr(parameters, "keys") else {"rope_theta": parameters}
        self.theta, self.width, self.dtype = parameters["rope_theta"], width, dtype
        self.scaling = scaling(parameters, width, max_positions)

    @torch.no_grad()
    def forward(self, x, positions):
        exponent = torch.arange(0, self.width, 2, device=x.device).float() / self.width
        inverse, factor = self.scaling(exponent, positions)
        with torch.autocast(x.device.type, enabled=False):
            angles = positions[..., None].float() * inverse
            dtype = self.dtype or x.dtype
            return (angles.cos() * factor).to(dtype), (angles.sin() * factor).to(dtype)


def rotate_halves(x, cos, sin):
    """Rotates x [B, N, S, R] in pairs (i, i + R/2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def rotate_pairs(x, cos, sin):
    """Rotates x [B, N, S, R] in pairs (2i, 2i + 1)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)


def apply_rope(q, k, rope, rotate=rotate_halves, *, dtype=None, sign=1):
    """q [B, N, S, D] and k [B, K, S, D] with their first R dimensions turned by the table's angles.

    `rotate` is the layout, `dtype` the precision of the rotation (None: that of q and the table together; the result
    has q's), `sign` -1 turns the other way.
    """
    cos, sin = (t.unsqueeze(1) for t in rope)
    sin = sin if sign == 1 else -sin
    return _turn(q, cos, sin, rotate, dtype), _turn(k, cos, sin, rotate, dtype)


def _turn(x, cos, sin, rotate, dtype):
    width = 2 * cos.shape[-1]
    turned = rotate(x[..., :width].to(dtype or x.dtype), cos, sin).to(x.dtype)
    return turned if width == x.shape[-1] else torch.cat((turned, x[..., width:]), dim=-1)
