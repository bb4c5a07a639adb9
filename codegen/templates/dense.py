"""Templates of dense MLPs that are no composition of the library's."""

from torch import nn

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP


class TemplateMLP(CombinedGateUpMLP):
    """{mlp}: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, maybe_layer_idx, backend):
        super().__init__(
            config,
            backend,
            width=hole.width,
            activation=hole.activation,
            bias=hole.bias,
            biases=hole.biases,
            names=hole.names,
            fused=hole.fused,
            groups=hole.groups,
            order=hole.order,
            packed=hole.packed,
            linear=hole.linear,
        )
        stmts.attributes

    def forward(self, x, maybe_padding_mask=None):
        gate, up = self.compute_gate_up(x)
        stmts.multiply
        y = hole.product
        if when.inner_norm:
            y = self.role_inner_norm(y)
        return hole.down


class TemplatePlainMLP(nn.Module):
    """{mlp}: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, maybe_layer_idx):
        super().__init__()
        if when.width_is_local:
            width = hole.width_value
        self.role_up = hole.linear(config.hidden_size, hole.width, bias=hole.up_bias)
        self.role_down = hole.linear(hole.width, config.hidden_size, bias=hole.down_bias)
        self.role_activation = ACT[hole.activation]
        stmts.attributes

    def forward(self, x, maybe_padding_mask=None):
        if when.single_expression:
            return self.role_down(self.role_activation(self.role_up(x)))
        if when.steps:
            y = hole.hidden
            if when.inner_norm:
                y = self.role_inner_norm(y)
            return hole.down
