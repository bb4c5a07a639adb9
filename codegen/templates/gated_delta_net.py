"""Template of a gated delta rule (arXiv 2412.06464), with decay by head or by channel (arXiv 2510.26692)."""

import torch
from torch import nn
from torch.nn.functional import silu

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.causal_conv import without_padding
from nemo_automodel.components.models.common.gated_delta_net import (
    GatedDeltaNet,
    blocks,
    gated,
    start_by_channel,
    start_by_head,
)


class TemplateGatedDeltaNet(GatedDeltaNet):
    """{mixer}: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        self.set_sizes(hole.key_heads, hole.heads, hole.key_dim, hole.value_dim, hole.activation)
        stmts.attributes
        stmts.projections
        width, taps = 2 * self.key_width + self.value_width, hole.kernel
        self.role_conv = nn.Conv1d(width, width, taps, groups=width, padding=taps - 1, bias=False)
        self.role_A_log = nn.Parameter(torch.empty(hole.rates, dtype=hole.A_log_dtype))
        self.role_dt_bias = nn.Parameter(torch.empty(hole.steps, dtype=hole.dt_bias_dtype))
        self.role_mixer_norm = hole.norm
        self.role_out = nn.Linear(self.value_width, config.hidden_size, bias=False)

    def initialize(self, std):
        hole.start(self.role_A_log, self.role_dt_bias)

    def forward(self, contract):
        x = without_padding(x, mask)
        stmts.inputs
        q, k, v = self.convolved_heads(self.role_conv, qkv, mask, past_key_values, **kwargs)
        decay = self.log_decay(self.role_A_log, a, self.role_dt_bias)
        y = self.recalled(q, k, v, decay, hole.beta, mask, past_key_values)
        if when.gate_first:
            y = self.role_mixer_norm(gated(y, z, hole.gate).unflatten(-1, (self.heads, -1))).flatten(-2)
        else:
            y = gated(self.role_mixer_norm(hole.normed), z, hole.gate)
        return self.role_out(y), None
