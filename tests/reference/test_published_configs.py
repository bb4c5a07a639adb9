"""Config files as they are published, scaled down: older fields, foreign architectures, scaled positions."""

import json
from pathlib import Path

import pytest
import torch
from transformers import DbrxConfig, DbrxForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.randomise import randomise
from nemo_automodel.parity.tolerances import FP32

KIMI_K2 = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "model_type": "kimi_k2",
    "attention_bias": False,
    "aux_loss_alpha": 0.001,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "first_k_dense_replace": 1,
    "hidden_size": 60,
    "intermediate_size": 74,
    "kv_lora_rank": 18,
    "max_position_embeddings": 128,
    "moe_intermediate_size": 40,
    "moe_layer_freq": 1,
    "n_group": 1,
    "n_routed_experts": 6,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 4,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "num_nextn_predict_layers": 0,
    "q_lora_rank": 22,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "rope_theta": 50.0,
    "rope_scaling": {
        "beta_fast": 1.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4,
        "type": "yarn",
    },
    "routed_scaling_factor": 2.827,
    "scoring_func": "sigmoid",
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "v_head_dim": 14,
    "vocab_size": 131,
}


DBRX = {
    "architectures": ["DbrxForCausalLM"],
    "model_type": "dbrx",
    "attn_config": {"attn_pdrop": 0, "clip_qkv": 8, "kv_n_heads": 2, "model_type": "", "rope_theta": 500000},
    "d_model": 60,
    "ffn_config": {
        "ffn_act_fn": {"name": "silu"},
        "ffn_hidden_size": 40,
        "model_type": "",
        "moe_jitter_eps": 0,
        "moe_loss_weight": 0.05,
        "moe_normalize_expert_weights": 1.0,
        "moe_num_experts": 4,
        "moe_top_k": 2,
    },
    "max_seq_len": 64,
    "n_heads": 6,
    "n_layers": 2,
    "resid_pdrop": 0.0,
    "vocab_size": 131,
}


@pytest.fixture
def published(tmp_path):
    """A Kimi-K2 folder, and the DeepSeek-V3 model of transformers that wrote its weights."""
    fields = {name: value for name, value in KIMI_K2.items() if name != "model_type"}
    model = DeepseekV3ForCausalLM._from_config(
        DeepseekV3Config(**fields), attn_implementation="eager", experts_implementation="eager"
    ).eval()
    randomise(model)
    model.save_pretrained(tmp_path)
    Path(tmp_path, "config.json").write_text(json.dumps(KIMI_K2))
    return tmp_path, model


def test_kimi_k2_is_known_by_its_model_type(published, tmp_path):
    folder, reference = published
    model = NeMoAutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    assert type(model).__name__ == "KimiK2ForCausalLM"
    assert model.config.rope_parameters["rope_type"] == "yarn" and model.config.rope_parameters["rope_theta"] == 50.0
    ids = torch.arange(3, 51).view(2, 24)
    with torch.no_grad():
        assert distance(model(ids).logits, reference(ids).logits) <= FP32
    model.save_pretrained(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved/config.json").read_text())
    assert (saved["model_type"], saved["architectures"]) == ("kimi_k2", ["DeepseekV3ForCausalLM"])


def test_without_scaling_the_base_is_the_files(published):
    folder, _ = published
    plain = {name: value for name, value in KIMI_K2.items() if name != "rope_scaling"}
    (folder / "config.json").write_text(json.dumps(plain))
    model = NeMoAutoModelForCausalLM.from_config(folder)
    assert model.config.rope_parameters == {"rope_type": "default", "rope_theta": 50.0}


def test_dbrx_rotates_by_the_base_of_its_inner_config(tmp_path):
    rope = {"rope_type": "default", "rope_theta": 500000}
    reference = DbrxForCausalLM(DbrxConfig(**DBRX, rope_parameters=rope)).eval()
    randomise(reference)
    reference.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(DBRX))
    model = NeMoAutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    ids = torch.arange(3, 51).view(2, 24)
    with torch.no_grad():
        assert distance(model(ids).logits, reference(ids).logits) <= FP32
