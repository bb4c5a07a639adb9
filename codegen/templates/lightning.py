"""Template of lightning attention (MiniMax, arXiv 2401.04658)."""

import torch
from torch import nn

from codegen.templates.holes import hole, stmts
from nemo_automodel.components.models.common.gated_delta_net import grouped
from nemo_automodel.components.models.common.lightning import Lightning


class TemplateLightning(Lightning):
    """Lightning attention, decay by head and layer: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        self.set_sizes(hole.heads, hole.head_dim, hole.decay, hole.activation)
        stmts.projections
        self.role_mixer_norm = hole.norm
        self.role_out_gate = nn.Linear(config.hidden_size, self.width, bias=False)
        self.role_out = nn.Linear(self.width, config.hidden_size, bias=False)

    def forward(self, contract):
        stmts.inputs
        y = self.role_mixer_norm(self.remembered(q, k, v, mask, past_key_values, **kwargs))
        return self.role_out(torch.sigmoid(self.role_out_gate(x)) * y), None
