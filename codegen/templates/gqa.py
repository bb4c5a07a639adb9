"""Template of multi-head, grouped-query and multi-query attention."""

import torch
from torch import nn

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.attention import Attention, attend, gate_heads, split_gate, split_heads
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
            linear=hole.linear_class,
        )
        if when.sinks:
            self.setup_sinks(hole.heads)
        if when.sinks_in_some_layers:
            self.beside_sinks = True
            self.setup_sinks(hole.heads, hole.sinks)
        if when.qk_norm:
            self.role_q_norm = hole.q_norm
            self.role_k_norm = hole.k_norm
        if when.inner_norm:
            self.role_inner_norm = hole.inner_norm
        if when.gate:
            self.role_out_gate = hole.linear(config.hidden_size, hole.gate_width, bias=hole.gate_bias)
        if when.gate_head_bias:
            self.role_out_gate_bias = nn.Parameter(torch.zeros(hole.gate_heads))
        self.role_out = hole.linear(hole.heads * hole.value_dim, config.hidden_size, bias=hole.out_bias)
        if when.bias_apart:
            self.role_out_bias = nn.Parameter(torch.zeros(config.hidden_size))
        if when.bias_apart_in_some_layers:
            self.role_out_bias = nn.Parameter(torch.zeros(config.hidden_size)) if hole.has_out_bias else None

    def forward(self, contract):
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
        if when.bias_in_out:
            return self.role_out(y), weights
        if when.bias_apart:
            return self.role_out(y) + self.role_out_bias, weights
        if when.bias_apart_in_some_layers:
            y = self.role_out(y)
            return y if self.role_out_bias is None else y + self.role_out_bias, weights
