"""A decoder of the library's parts whose structure the test chooses: windows, chunks, ALiBi, fused storage, ..."""

import torch
from torch import nn
from transformers import PreTrainedConfig

from nemo_automodel.components.models.common.alibi import Alibi
from nemo_automodel.components.models.common.attention import Attention, attend, split_heads
from nemo_automodel.components.models.common.causal_lm import CausalLM, DecoderLayer, DecoderModel
from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.rules import (
    PackGateUp,
    PackQKV,
    ReorderGateUp,
    ReorderQKV,
    Transpose,
)
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.combined_projection.combined_qkv import (
    CombinedQKVAttentionMixin,
    QKVLayout,
)
from nemo_automodel.components.models.common.norm import OffsetRMSNorm, RMSNorm
from nemo_automodel.components.models.common.rope import RotaryTable, apply_rope


class TinyConfig(PreTrainedConfig):
    """windows, chunks: one entry a layer. fused: qkv and gate_up are stored as one matrix each, o_proj transposed."""

    model_type = "tiny_of_tests_common"
    base_model_tp_plan = {"layers.*.self_attn.q_proj": "colwise", "layers.*.mlp.down_proj": "rowwise"}

    vocab_size: int = 61
    hidden_size: int = 32
    intermediate_size: int = 40
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 12
    hidden_act: str = "silu"
    max_position_embeddings: int = 64
    initializer_range: float = 0.2
    windows: list | None = None
    chunks: list | None = None
    use_alibi: bool = False
    softcap: float | None = None
    fused: bool = False
    learned_positions: bool = False
    rope: dict | None = None
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = None
    tie_word_embeddings: bool = False
    use_cache: bool = True


class TinyAdapter(StateDictAdapter):
    def rules(self, config):
        queries = config.num_attention_heads // config.num_key_value_heads
        if not config.fused:
            return PackQKV("self_attn", queries, config.head_dim), PackGateUp("mlp")
        return (
            ReorderQKV("self_attn.qkv", ("q", "k", "v"), 1, queries, config.head_dim, transposed=True),
            Transpose("self_attn.o_proj"),
            ReorderGateUp("mlp.gate_up"),
        )


class TinyAttention(CombinedQKVAttentionMixin, Attention):
    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        self.scale, self.softcap = config.head_dim**-0.5, config.softcap
        self.window = config.windows and config.windows[layer_idx]
        self.chunk = config.chunks and config.chunks[layer_idx]
        self.setup_qkv_projection(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            fused="qkv" if config.fused else None,
            layout=QKVLayout(groups=1) if config.fused else None,
        )
        self.o_proj = nn.Linear(config.num_attention_heads * config.head_dim, config.hidden_size, bias=False)

    def forward(self, x, rope, mask, past_key_values=None, **kwargs):
        q, k, v = (split_heads(t, self.head_dim) for t in self.compute_qkv(x))
        if rope is not None:
            q, k = apply_rope(q, k, rope)
        y, weights = attend(self, q, k, v, mask, past_key_values, **kwargs)
        return self.o_proj(y), weights


class TinyLayer(DecoderLayer):
    def __init__(self, config, layer_idx, backend):
        super().__init__()
        self.self_attn = TinyAttention(config, layer_idx, backend)
        fused = {"fused": "gate_up"} if config.fused else {}
        self.mlp = CombinedGateUpMLP(config, backend, **fused)
        self.input_layernorm = RMSNorm(config.hidden_size, 1e-6)
        self.post_attention_layernorm = OffsetRMSNorm(config.hidden_size, 1e-6)

    def forward(self, x, **context):
        x = x + self.self_attn(self.input_layernorm(x), **context)[0]
        return x + self.mlp(self.post_attention_layernorm(x))


class TinyModel(DecoderModel):
    config_class = TinyConfig
    adapter_class = TinyAdapter
    _no_split_modules = ["TinyLayer"]
    _layers_name = "blocks"

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        if config.learned_positions:
            self.wpe = nn.Embedding(config.max_position_embeddings + 2, config.hidden_size)
            self._positions_from_mask = True
        elif config.use_alibi:
            self.alibi = Alibi(config.num_attention_heads)
        else:
            self.rotary_emb = RotaryTable(config.rope or 10000.0, config.head_dim, config.max_position_embeddings)
        self.blocks = nn.ModuleList(TinyLayer(config, i, self.backend) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, 1e-6)
        self.post_init()

    def embed(self, x, position_ids):
        return x + self.wpe(position_ids + 2) if self.config.learned_positions else x


class TinyForCausalLM(CausalLM):
    config_class = TinyConfig
    adapter_class = TinyAdapter

    def __init__(self, config, backend=None):
        super().__init__(config, backend)
        self.model = TinyModel(config, self.backend)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def transform_logits(self, logits):
        return logits * 1.5


def tiny(projections="split", attention="eager", seed=0, **fields):
    """A model with weights that tell positions apart, in eval mode."""
    torch.manual_seed(seed)
    config = TinyConfig(**fields)
    model = TinyForCausalLM._from_config(config, attn_implementation=attention, backend={"projections": projections})
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.1
            parameter.add_(torch.randn_like(parameter) * scale)
    return model.eval()


def batch(rows=2, length=20, pad=5, vocabulary=61):
    """ids [B, S] and a mask whose first row is padded on the left."""
    ids = torch.randint(3, vocabulary, (rows, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :pad], ids[0, :pad] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}
