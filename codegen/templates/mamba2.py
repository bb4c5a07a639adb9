"""Template of the state space mixer of Mamba-2."""

from torch import nn

from codegen.templates.holes import hole, stmts
from nemo_automodel.components.models.common.causal_conv import without_padding
from nemo_automodel.components.models.common.mamba2 import Mamba2


class TemplateMamba2(Mamba2):
    """State space mixer, decay by head: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(
            config,
            layer_idx,
            backend,
            heads=hole.heads,
            head_dim=hole.head_dim,
            groups=hole.groups,
            state=hole.state,
            activation=hole.activation,
            bounds=hole.bounds,
        )
        stmts.attributes
        taps, mixed = hole.kernel, self.mixed
        self.role_inputs = nn.Linear(config.hidden_size, self.width + mixed + self.heads, bias=hole.bias)
        self.role_conv = nn.Conv1d(mixed, mixed, taps, groups=mixed, padding=taps - 1, bias=hole.conv_bias)
        self.role_dt_bias = self.numbers()
        self.role_A_log = self.numbers()
        self.role_D = self.numbers()
        self.role_mixer_norm = hole.norm
        self.role_out = nn.Linear(self.width, config.hidden_size, bias=hole.out_bias)

    def initialize(self, std):
        self.start(self.role_A_log, self.role_D, self.role_dt_bias, self.role_out)

    def forward(self, contract):
        inputs = self.role_inputs(without_padding(x, mask))
        stmts.multiply
        stmts.split
        x = self.activation(self.convolved(self.role_conv, x, mask, past_key_values, **kwargs))
        numbers = self.role_A_log, self.role_D, self.role_dt_bias
        y = self.scanned(without_padding(x, mask), dt, *numbers, mask, past_key_values)
        return self.role_out(self.role_mixer_norm(y, z)), None
