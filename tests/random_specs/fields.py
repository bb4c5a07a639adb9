"""The frame of a spec whose config class is generated: Llama's fields, and whatever the sections read besides."""

import json
from typing import Any

FIELDS: dict[str, Any] = {
    **{"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
    **{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "hidden_act": "silu"},
    **{"max_position_embeddings": 2048, "initializer_range": 0.02, "rms_norm_eps": 1e-6, "use_cache": True},
    **{"tie_word_embeddings": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    **{"rope_parameters": None},
}
EXPERTS = {"num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 1024}
LATENT = {
    **{"q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128},
    **{"num_key_value_heads": 32},
}


def framed(name: str, sections: dict[str, Any], fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """A whole spec with a config class of its own; `fields` beside Llama's, None takes one away."""
    own = FIELDS | (fields or {})
    own |= EXPERTS if '"moe"' in json.dumps(sections.get("mlp")) else {}
    if '"mla"' in json.dumps(sections.get("attention")):
        own |= {**LATENT, "q_lora_rank": own.get("q_lora_rank")}
        del own["head_dim"]
    config = {"model_type": name, "class": "RandomConfig", "fields": own}
    return {"name": name, "architecture": "RandomForCausalLM", "config": config, **sections}
