"""Tiny configs of the shapes, as keyword arguments of their config classes."""

TEXT = {
    "vocab_size": 151,
    "hidden_size": 48,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rms_norm_eps": 0.003,
    "rope_parameters": {"rope_type": "default", "rope_theta": 37.0},
}
AXES = {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 37.0, "mrope_section": [1, 2, 3]}}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 12,
    "patch_size": 3,
}
QWEN_VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_heads": 4,
    "out_hidden_size": 48,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}
GEMMA_TEXT = {
    **TEXT,
    "sliding_window": 9,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    "query_pre_attn_scalar": 20,
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 37.0},
        "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0},
    },
}

LLAVA = {
    "text_config": {**TEXT, "model_type": "llama"},
    "vision_config": {**VISION, "model_type": "clip_vision_model"},
    "image_token_index": 150,
    "vision_feature_layer": -2,
    "projector_hidden_act": "silu",
    "tie_word_embeddings": False,
}
MISTRAL3 = {
    "text_config": {**TEXT, "model_type": "mistral"},
    "vision_config": {**VISION, "image_size": 48, "head_dim": 8, "model_type": "pixtral"},
    "image_token_index": 150,
    "vision_feature_layer": -2,
    "projector_hidden_act": "silu",
    "tie_word_embeddings": False,
}
MISTRAL4_VL = {
    **MISTRAL3,
    "text_config": {
        **{name: value for name, value in TEXT.items() if name != "rope_parameters"},
        "model_type": "mistral4",
        "num_key_value_heads": 4,
        "head_dim": 4,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 37.0,
            "partial_rotary_factor": 1.0,
            "llama_4_scaling_beta": 0.37,
            "original_max_position_embeddings": 7,
        },
        "q_lora_rank": 22,
        "kv_lora_rank": 18,
        "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 4,
        "v_head_dim": 14,
        "n_routed_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 40,
        "n_group": 4,
        "topk_group": 2,
        "n_shared_experts": 2,
        "first_k_dense_replace": 1,
    },
}
QWEN2_5_VL = {
    "text_config": AXES,
    "vision_config": {**QWEN_VISION, "window_size": 16, "fullatt_block_indexes": [1]},
    "image_token_id": 150,
    "video_token_id": 149,
    "vision_start_token_id": 148,
    "vision_end_token_id": 147,
    "tie_word_embeddings": False,
}
QWEN3_VL = {
    **QWEN2_5_VL,
    "text_config": {**AXES, "sliding_window": None, "layer_types": ["full_attention"] * 3},  # of the text model's class
    "vision_config": {**QWEN_VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
}
GEMMA3 = {
    "text_config": GEMMA_TEXT,
    "vision_config": {**VISION, "image_size": 18, "layer_norm_eps": 0.001},
    "image_token_index": 160,
    "mm_tokens_per_image": 9,
    "tie_word_embeddings": True,
}
PALIGEMMA = {
    "text_config": {**TEXT, "model_type": "gemma"},
    "vision_config": {
        **VISION,
        "model_type": "siglip_vision_model",
        "projection_dim": 48,
        "vision_use_head": False,
    },
    "image_token_index": 150,
    "projection_dim": 48,
    "hidden_size": 48,
    "tie_word_embeddings": True,
}
