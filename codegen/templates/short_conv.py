"""Template of a gated short convolution (LFM2)."""

from torch import nn

from codegen.templates.holes import hole
from nemo_automodel.components.models.common.causal_conv import without_padding
from nemo_automodel.components.models.common.short_conv import ShortConv


class TemplateShortConv(ShortConv):
    """Gated short convolution: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        width, taps = config.hidden_size, hole.kernel
        self.role_inputs = nn.Linear(width, 3 * width, bias=hole.bias)
        self.role_conv = nn.Conv1d(width, width, taps, groups=width, padding=taps - 1, bias=hole.bias)
        self.role_out = nn.Linear(width, width, bias=hole.bias)

    def forward(self, contract):
        inputs = self.role_inputs(without_padding(x, mask)).chunk(3, dim=-1)
        B, C, x = hole.inputs
        y = self.gated(self.role_conv, B, C, x, mask, past_key_values, **kwargs)
        return self.role_out(y), None
