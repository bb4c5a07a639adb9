"""A small decoder with experts in its second layer, for tests of whole models."""

from torch import nn
from transformers import Qwen3MoeConfig

from nemo_automodel.components.models.common.attention import Attention, attend, split_heads
from nemo_automodel.components.models.common.causal_lm import DecoderLayer
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.norm import RMSNorm
from nemo_automodel.components.models.common.rope import RotaryTable, apply_rope
from nemo_automodel.components.moe.causal_lm import MoECausalLM, MoEDecoderModel
from nemo_automodel.components.moe.config import MoEConfig
from nemo_automodel.components.moe.layers import MoE


def tiny_config(**fields):
    sizes = {
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 40,
        "moe_intermediate_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "mlp_only_layers": [0],
        "initializer_range": 0.2,
        "router_aux_loss_coef": 0.1,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": None,
    }
    return Qwen3MoeConfig(**{**sizes, **fields})


class TinyAttention(Attention):
    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        D, N, K = config.head_dim, config.num_attention_heads, config.num_key_value_heads
        self.scale, self.num_key_value_groups = D**-0.5, N // K
        self.q_proj = nn.Linear(config.hidden_size, N * D, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, K * D, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, K * D, bias=False)
        self.o_proj = nn.Linear(N * D, config.hidden_size, bias=False)
        self.q_norm, self.k_norm = RMSNorm(D, config.rms_norm_eps), RMSNorm(D, config.rms_norm_eps)

    def forward(self, x, rope, mask, past_key_values=None, **kwargs):
        q, k, v = (split_heads(p(x), self.config.head_dim) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = apply_rope(self.q_norm(q), self.k_norm(k), rope)
        y, weights = attend(self, q, k, v, mask, past_key_values, **kwargs)
        return self.o_proj(y), weights


class TinyDecoderLayer(DecoderLayer):
    def __init__(self, config, layer_idx, backend, moe):
        super().__init__()
        self.self_attn = TinyAttention(config, layer_idx, backend)
        if layer_idx in config.mlp_only_layers:
            self.mlp = CombinedGateUpMLP(config, {"projections": "split"})
        else:
            self.mlp = MoE(moe, backend)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, padding_mask=None, **context):
        x = x + self.self_attn(self.input_layernorm(x), **context)[0]
        return x + self.mlp(self.post_attention_layernorm(x), padding_mask)


class TinyModel(MoEDecoderModel):
    config_class = Qwen3MoeConfig
    _no_split_modules = ["TinyDecoderLayer"]

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        moe = MoEConfig(
            dim=config.hidden_size,
            moe_inter_dim=config.moe_intermediate_size,
            n_routed_experts=config.num_experts,
            n_activated_experts=config.num_experts_per_tok,
            norm_topk_prob=config.norm_topk_prob,
            aux_loss_coeff=config.router_aux_loss_coef,
            correction_bias=getattr(config, "correction_bias", False),
            gate_bias_update_factor=0.01,
        )
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.rotary_emb = RotaryTable(config.rope_parameters, config.head_dim, config.max_position_embeddings)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(TinyDecoderLayer(config, layer, self.backend, moe) for layer in layers)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_init()


class TinyForCausalLM(MoECausalLM):
    config_class = Qwen3MoeConfig

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.model = TinyModel(config, self.backend)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
