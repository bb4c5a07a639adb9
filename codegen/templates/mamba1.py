"""Template of the state space mixer of Mamba."""

import torch
from torch import nn

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.causal_conv import without_padding
from nemo_automodel.components.models.common.mamba1 import Mamba1, gated


class TemplateMamba1(Mamba1):
    """Selective state spaces, each channel for itself: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend, activation=hole.activation)
        width, taps = hole.width, hole.kernel
        self.rank, self.state = hole.dt_rank, hole.state
        self.role_inputs = nn.Linear(config.hidden_size, 2 * width, bias=hole.bias)
        self.role_conv = nn.Conv1d(width, width, taps, groups=width, padding=taps - 1, bias=hole.conv_bias)
        self.role_selection = nn.Linear(width, self.rank + 2 * self.state, bias=False)
        if when.inner_norms:
            self.role_dt_norm = hole.dt_norm
            self.role_B_norm = hole.B_norm
            self.role_C_norm = hole.C_norm
        self.role_dt_proj = nn.Linear(self.rank, width)
        self.role_A_log = nn.Parameter(torch.empty(width, self.state))
        self.role_D = nn.Parameter(torch.empty(width))
        self.role_out = nn.Linear(width, config.hidden_size, bias=hole.bias)

    def initialize(self, std):
        self.start(self.role_A_log, self.role_D, self.role_dt_proj, self.role_conv, self.role_out)

    def forward(self, contract):
        stmts.inputs
        x = self.activation(self.convolved(self.role_conv, x, mask, past_key_values, **kwargs))
        x = without_padding(x, mask)
        stmts.selection
        if when.inner_norms:
            dt, B, C = self.role_dt_norm(dt), self.role_B_norm(B), self.role_C_norm(C)
        y = self.selected(x, self.role_dt_proj(dt), B, C, self.role_A_log, self.role_D, mask, past_key_values)
        return self.role_out(gated(y, z)), None
