"""Whole mixtures under torch.export, with batch and length left open: what eager gives at sizes never traced."""

import pytest
import torch
from transformers import DeepseekV3Config, GptOssConfig, GraniteMoeSWAConfig, Lfm2MoeConfig, Qwen3MoeConfig

from nemo_automodel import NeMoAutoModelForCausalLM

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
SIZES = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 2, **HEADS}
CHOSEN = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {"q_lora_rank": 12, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
GROUPS = {"n_routed_experts": 6, "n_group": 3, "topk_group": 2, "n_shared_experts": 1, "first_k_dense_replace": 1}
LAYERS = {"layer_types": ["conv", "full_attention"], "num_dense_layers": 0, "conv_L_cache": 3}
CONFIGS = {
    "plain": Qwen3MoeConfig(**SIZES, **CHOSEN, num_experts=6),
    "groups, shared, latent": DeepseekV3Config(**{**SIZES, "num_key_value_heads": 4}, **CHOSEN, **LATENT, **GROUPS),
    "biases, sinks, windows": GptOssConfig(**SIZES, num_experts_per_tok=2, num_local_experts=6, sliding_window=5),
    "tables of layers": GraniteMoeSWAConfig(**SIZES, num_experts_per_tok=2, num_local_experts=6),
    "convolutions": Lfm2MoeConfig(**SIZES, **CHOSEN, **LAYERS, num_experts=6),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_one_export_serves_every_length_and_batch(name: str) -> None:
    torch.manual_seed(0)
    model = NeMoAutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    open_sizes = {"input_ids": {0: torch.export.Dim("batch", max=64), 1: torch.export.Dim("length", min=2, max=256)}}
    given = {"input_ids": torch.randint(1, 61, (2, 9)), "use_cache": False}
    exported = torch.export.export(model, (), given, dynamic_shapes={**open_sizes, "use_cache": None}, strict=False)
    for batch, length in ((3, 17), (5, 4)):
        ids = torch.randint(1, 61, (batch, length))
        expected = model(ids, use_cache=False).logits
        found = exported.module()(input_ids=ids, use_cache=False).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
