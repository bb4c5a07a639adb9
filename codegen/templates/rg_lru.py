"""Template of a real-gated linear recurrent unit (Griffin, arXiv 2402.19427)."""

import torch
from torch import nn

from codegen.templates.holes import hole
from nemo_automodel.components.models.common.causal_conv import without_padding
from nemo_automodel.components.models.common.rg_lru import RgLru


class TemplateRgLru(RgLru):
    """Real-gated linear recurrent unit: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend, width=hole.width, heads=hole.heads, activation=hole.activation)
        hidden, width, taps = config.hidden_size, self.width, hole.kernel
        self.role_y = nn.Linear(hidden, width)
        self.role_x = nn.Linear(hidden, width)
        self.role_conv = nn.Conv1d(width, width, taps, groups=width, padding=taps - 1)
        self.role_input_gate_weight = self.gate_weight()
        self.role_input_gate_bias = self.gate_bias()
        self.role_recurrent_gate_weight = self.gate_weight()
        self.role_recurrent_gate_bias = self.gate_bias()
        self.role_recurrent_param = nn.Parameter(torch.empty(width))
        self.role_out = nn.Linear(width, hidden)

    def initialize(self, std):
        self.start_projections(self.role_y, self.role_x, self.role_conv, self.role_out)
        self.start_gate(self.role_input_gate_weight, self.role_input_gate_bias)
        self.start_gate(self.role_recurrent_gate_weight, self.role_recurrent_gate_bias)
        self.start_decay(self.role_recurrent_param)

    def forward(self, contract):
        y = self.activation(self.role_y(x))
        x = without_padding(self.role_x(x), mask)
        x = self.convolved(self.role_conv, x, mask, past_key_values, **kwargs)
        gates = self.role_input_gate_weight, self.role_input_gate_bias
        rates = self.role_recurrent_gate_weight, self.role_recurrent_gate_bias, self.role_recurrent_param
        x = self.recurred(x, *gates, *rates, mask=mask, cache=past_key_values, **kwargs)
        return self.role_out(x * y), None
