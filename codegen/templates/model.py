"""Template of `model.py` of a decoder."""

import torch
from torch import nn
from transformers import PreTrainedConfig as TemplateConfig

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.attention import Attention, attend, gate_heads, split_gate, split_heads
from nemo_automodel.components.models.common.causal_lm import CausalLM as TemplateCausalLM
from nemo_automodel.components.models.common.causal_lm import DecoderLayer
from nemo_automodel.components.models.common.causal_lm import DecoderModel as TemplateDecoderModel
from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter as TemplateStateDictAdapter
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.combined_projection.combined_qkv import CombinedQKVAttentionMixin
from nemo_automodel.components.models.common.functional import clip
from nemo_automodel.components.models.common.rope import apply_rope


class TemplateAttention(CombinedQKVAttentionMixin, Attention):
    """{attention}: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        if when.head_dim_is_local:
            head_dim = hole.head_dim_value
        stmts.attributes
        self.setup_qkv_projection(
            config.hidden_size,
            hole.heads,
            hole.kv_heads,
            hole.head_dim,
            bias=hole.bias,
            biases=hole.biases,
            names=hole.names,
            fused=hole.fused,
            layout=hole.layout,
            v_head_dim=hole.v_head_dim,
            gated=hole.gated,
            packed=hole.packed,
        )
        if when.sinks:
            self.setup_sinks(hole.heads)
        if when.sinks_in_some_layers:
            if hole.sinks:
                self.setup_sinks(hole.heads)
        if when.qk_norm:
            self.role_q_norm = hole.q_norm
            self.role_k_norm = hole.k_norm
        if when.inner_norm:
            self.role_inner_norm = hole.inner_norm
        if when.gate:
            self.role_out_gate = nn.Linear(config.hidden_size, hole.gate_width, bias=hole.gate_bias)
        if when.gate_head_bias:
            self.role_out_gate_bias = nn.Parameter(torch.zeros(hole.gate_heads))
        self.role_out = nn.Linear(hole.heads * hole.value_dim, config.hidden_size, bias=hole.out_bias)

    def forward(self, x, rope, mask, past_key_values=None, **kwargs):
        if when.whole_projections:
            q, k, v = self.compute_qkv(x)  # [B, S, N * D], [B, S, K * D] x 2
            if when.gate_in_q:
                q, gate = split_gate(q, self.head_dim)
            if when.norm_of_projections:
                q, k = self.role_q_norm(q), self.role_k_norm(k)
            if when.clip:
                q, k, v = (clip(t, self.clip) for t in (q, k, v))
            if when.v_head_dim:
                q, k = (split_heads(t, self.head_dim) for t in (q, k))  # [B, N, S, D], [B, K, S, D]
                v = split_heads(v, self.v_head_dim)  # [B, K, S, E]
            else:
                q, k, v = (split_heads(t, self.head_dim) for t in (q, k, v))  # [B, N, S, D], [B, K, S, D] x 2
        else:
            q, k, v = (split_heads(t, self.head_dim) for t in self.compute_qkv(x))  # [B, N, S, D], [B, K, S, D] x 2
        if when.norm_before_rope:
            q, k = self.role_q_norm(q), self.role_k_norm(k)
        if when.row_norm_before_rope:
            q, k = (n(t.transpose(1, 2)).transpose(1, 2) for n, t in ((self.role_q_norm, q), (self.role_k_norm, k)))
        if when.rope_in_some_layers:
            if self.rotary:
                q, k = apply_rope(q, k, rope, hole.rotate, dtype=hole.dtype, sign=hole.sign)
        elif when.rope:
            q, k = apply_rope(q, k, rope, hole.rotate, dtype=hole.dtype, sign=hole.sign)
        if when.norm_after_rope:
            q, k = self.role_q_norm(q), self.role_k_norm(k)
        if when.row_norm_after_rope:
            q, k = (n(t.transpose(1, 2)).transpose(1, 2) for n, t in ((self.role_q_norm, q), (self.role_k_norm, k)))
        stmts.multiply
        y, weights = attend(self, q, k, v, mask, past_key_values, **kwargs)
        if when.gate:
            y = gate_heads(y, self.role_out_gate(x), hole.gate_activation, bias=hole.gate_head_bias)
        if when.gate_in_q:
            y = gate_heads(y, gate, hole.gate_activation, bias=hole.gate_head_bias)
        if when.inner_norm:
            y = self.role_inner_norm(y)
        return self.role_out(y), weights


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
        self.role_up = nn.Linear(config.hidden_size, hole.width, bias=hole.up_bias)
        self.role_down = nn.Linear(hole.width, config.hidden_size, bias=hole.down_bias)
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


class TemplateDecoderLayer(DecoderLayer):
    """{layer}: x [B, S, H] -> x [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__()
        stmts.parts

    def forward(self, x, maybe_padding_mask=None, **context):
        stmts.block
        return hole.block


class TemplateWiredDecoderLayer(TemplateDecoderLayer):
    """{layer}: x [B, S, H] -> x [B, S, H]."""

    def forward(self, x, maybe_padding_mask=None, **context):
        stmts.block
        return hole.block


class TemplateModel(TemplateDecoderModel):
    """ids [B, S] -> x [B, S, H]."""

    config_class = TemplateConfig
    adapter_class = TemplateStateDictAdapter
    stmts.flags

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        stmts.inputs
        if when.layer_class_is_local:
            stmts.layer_class
            self.role_layers = nn.ModuleList(
                layer_class(config, layer, self.backend) for layer in range(config.num_hidden_layers)
            )
        else:
            self.role_layers = nn.ModuleList(
                hole.layer_class(config, layer, self.backend) for layer in range(config.num_hidden_layers)
            )
        stmts.outputs
        self.post_init()

    if when.embed:

        def embed(self, x, position_ids):
            stmts.embed
            return hole.embedded

    if when.finish:

        def finish(self, x):
            return hole.finish


class TemplateForCausalLM(TemplateCausalLM):
    """ids [B, S] -> logits [B, S, V]."""

    config_class = TemplateConfig
    adapter_class = TemplateStateDictAdapter
    stmts.head_flags

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.role_model = TemplateModel(config, self.backend)
        stmts.head
        self.post_init()

    if when.before_head:

        def before_head(self, x):
            return hole.before

    if when.transform_logits:

        def transform_logits(self, logits):
            return hole.logits
