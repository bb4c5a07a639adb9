"""The state space mixer of Mamba (arXiv 2312.00752): a convolution, then a scan that what it reads selects."""

import torch
from torch import nn

from nemo_automodel.components.models.common import selective_scan
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.causal_conv import ConvolvedMixer
from nemo_automodel.components.models.common.state_space_start import start_decay, start_step_projection, start_ways
from nemo_automodel.components.models.common.stateful import continued


class Mamba1(ConvolvedMixer):
    """What a Mamba mixer does beside its projections. B batch, S positions, I inner width, N entries of a state.

    activation: its name, of what is convolved.
    """

    has_one_order = False

    def __init__(self, config, layer_idx, backend, *, activation):
        super().__init__(config, layer_idx, backend)
        self.activation = ACT[activation]
        self.scan = selective_scan.form(backend.scan)

    def start(self, A_log, D, dt_proj, conv, out):
        """Values before training: decays of 1 to N, and steps and ways as the config has them."""
        start_decay(A_log, D)
        start_step_projection(self.config, dt_proj)
        start_ways(self.config, conv, out)

    def selected(self, x, dt, B, C, A_log, D, mask, cache):
        """x and raw steps dt [B, S, I], B and C [B, S, N], A_log [I, N], D [I] -> y [B, S, I] in fp32 or wider."""
        wide = torch.promote_types(x.dtype, torch.float32)
        dt = nn.functional.softplus(dt.to(wide))
        if mask is not None and mask.text is not None:
            dt = dt * mask.text[..., None]  # time stands still at padding
        inputs = x, dt, -A_log.to(wide).exp().mT.contiguous(), B, C
        y = continued(selective_scan.step, self.scan, inputs, mask, cache, self.layer_idx)
        return torch.addcmul(y, x.to(wide), D.to(wide))


def gated(y, z):
    """y [..., I], times silu(z), rounded once to z's dtype."""
    return (y * nn.functional.silu(z.to(y.dtype))).to(z.dtype)
