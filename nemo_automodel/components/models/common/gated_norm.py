"""RMSNorm of recurrent mixers: over equal groups of the width, with a gate before or after."""

from torch import nn

from nemo_automodel.components.models.common.norm import Norm
from nemo_automodel.components.models.common.rms_norm import rms


class GatedRMSNorm(Norm):
    """y, z [..., D] -> [..., D] in z's dtype: y normalised by group, times silu(z) before or after; fp32 inside."""

    def __init__(self, dim, eps, *, groups=1, gate="before"):
        super().__init__(dim, eps)
        self.groups, self.gate = groups, gate

    def forward(self, y, z):
        gate, y = nn.functional.silu(z.float()), y.float()
        y = y * gate if self.gate == "before" else y
        y = self.weight * rms(y.unflatten(-1, (self.groups, -1)), self.eps).flatten(-2)
        return (y if self.gate == "before" else y * gate).to(z.dtype)


class Gate(nn.Module):
    """Where a config leaves the norm out: y, z [..., D] -> y * silu(z)."""

    def forward(self, y, z):
        return (y.float() * nn.functional.silu(z.float())).to(z.dtype)
