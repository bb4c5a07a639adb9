"""The state space mixer of Mamba-2 (arXiv 2405.21060): a convolution, then a sum over the past that decays by head."""

import math

import torch
from torch import nn

from nemo_automodel.components.models.common import chunked_decay
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.causal_conv import ConvolvedMixer
from nemo_automodel.components.models.common.state_space_start import start_decay, start_shrunken, start_steps
from nemo_automodel.components.models.common.stateful import continued


class Mamba2(ConvolvedMixer):
    """What a Mamba-2 mixer has beside its parameters.

    heads, head_dim: of the inner width. groups: of heads that share B and C, each as wide as `state`. activation: its
    name, of what is convolved. bounds: (least, largest) step. multipliers: {z, x, B, C or dt: factor} on what the first
    projection gives.
    """

    has_one_order = False
    multipliers = {}

    def __init__(
        self, config, layer_idx, backend, *, heads, head_dim, groups, state, activation, bounds=(0.0, math.inf)
    ):
        super().__init__(config, layer_idx, backend)
        self.heads, self.head_dim, self.groups, self.state = heads, head_dim, groups, state
        self.bounds, self.activation = bounds, ACT[activation]
        self.sum = chunked_decay.form(backend.scan)

    @property
    def width(self):
        """Of z and x."""
        return self.heads * self.head_dim

    @property
    def mixed(self):
        """Of x, B and C, which the convolution mixes."""
        return self.width + 2 * self.groups * self.state

    def numbers(self):
        """A parameter of one number a head."""
        return nn.Parameter(torch.empty(self.heads))

    def factors(self, inputs):
        """What each column of the first projection is multiplied by."""
        shared = self.groups * self.state
        widths = {"z": self.width, "x": self.width, "B": shared, "C": shared, "dt": self.heads}
        pieces = [inputs.new_full((width,), self.multipliers.get(name, 1.0)) for name, width in widths.items()]
        return torch.cat(pieces)

    def start(self, A_log, D, dt_bias, out):
        """Values before training: decays of 1 to `heads`, steps and a last projection as the config has them."""
        start_decay(A_log, D)
        start_steps(self.config, dt_bias)
        start_shrunken(self.config, out)

    def scanned(self, x, dt, A_log, D, dt_bias, mask, cache):
        """x, B and C [B, S, mixed] and raw steps dt [B, S, H] -> y [B, S, width] in fp32."""
        x, k, q = x.split((self.width, *[self.groups * self.state] * 2), dim=-1)
        x = x.unflatten(-1, (self.heads, -1))
        q, k = (one.unflatten(-1, (self.groups, -1)) for one in (q, k))
        wide = torch.promote_types(x.dtype, torch.float32)
        dt = nn.functional.softplus(dt.to(wide) + dt_bias.to(wide)).clamp(*self.bounds)
        if mask is not None and mask.text is not None:
            dt = dt * mask.text[..., None]  # time stands still at padding
        decay, v = -dt * A_log.to(wide).exp(), x * dt[..., None]
        y = continued(chunked_decay.step, self.sum, (q, k, v, decay), mask, cache, self.layer_idx)
        return torch.addcmul(y, x.to(wide), D.to(wide)[:, None]).flatten(-2)
