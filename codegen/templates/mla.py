"""Template of multi-head latent attention (DeepSeek-V2, arXiv 2405.04434)."""

import torch
from torch import nn

from codegen.templates.holes import hole, stmts, when
from nemo_automodel.components.models.common.attention import Attention, attend, gate_heads, split_heads
from nemo_automodel.components.models.common.rope import apply_rope


class TemplateLatentAttention(Attention):
    """{attention}, of whose heads a part turns: [B, S, H] -> [B, S, H]."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        heads = hole.heads
        self.nope, self.rope, self.v = hole.nope, hole.rope, hole.v
        self.q_rank, self.kv_rank = hole.q_rank, hole.kv_rank
        stmts.attributes
        head_dim = self.nope + self.rope
        if self.q_rank is None:
            self.role_q = nn.Linear(config.hidden_size, heads * head_dim, bias=hole.q_bias)
        else:
            self.role_q_a = nn.Linear(config.hidden_size, self.q_rank, bias=hole.q_a_bias)
            self.role_q_a_norm = hole.q_a_norm
            self.role_q_b = nn.Linear(self.q_rank, heads * head_dim, bias=hole.q_b_bias)
        self.role_kv_a = nn.Linear(config.hidden_size, self.kv_rank + self.rope, bias=hole.kv_a_bias)
        self.role_kv_a_norm = hole.kv_a_norm
        self.role_kv_b = nn.Linear(self.kv_rank, heads * (self.nope + self.v), bias=hole.kv_b_bias)
        if when.gate:
            self.role_out_gate = nn.Linear(config.hidden_size, hole.gate_width, bias=hole.gate_bias)
        if when.gate_head_bias:
            self.role_out_gate_bias = nn.Parameter(torch.zeros(hole.gate_heads))
        self.role_out = nn.Linear(heads * self.v, config.hidden_size, bias=hole.out_bias)

    def forward(self, contract):
        q = self.role_q(x) if self.q_rank is None else self.role_q_b(self.role_q_a_norm(self.role_q_a(x)))
        q, q_turned = split_heads(q, self.nope + self.rope).split((self.nope, self.rope), dim=-1)
        latent, k_turned = self.role_kv_a(x).split((self.kv_rank, self.rope), dim=-1)
        k, v = split_heads(self.role_kv_b(self.role_kv_a_norm(latent)), self.nope + self.v).split(
            (self.nope, self.v), dim=-1
        )
        k_turned = k_turned.unsqueeze(1)
        if when.rope_in_some_layers:
            if self.rotary:
                q_turned, k_turned = apply_rope(q_turned, k_turned, rope, hole.rotate, dtype=hole.dtype, sign=hole.sign)
        elif when.rope:
            q_turned, k_turned = apply_rope(q_turned, k_turned, rope, hole.rotate, dtype=hole.dtype, sign=hole.sign)
        q = torch.cat((q, q_turned), dim=-1)
        k = torch.cat((k, k_turned.expand(-1, k.shape[1], -1, -1)), dim=-1)
        stmts.multiply
        y, weights = attend(self, q, k, v, mask, past_key_values, **kwargs)
        if when.gate:
            y = gate_heads(y, self.role_out_gate(x), hole.gate_activation, bias=hole.gate_head_bias)
        return self.role_out(y), weights
