"""Specs that once meant something else than they say, and equal their meaning now."""

from typing import Any

from tests.random_specs.fields import LATENT

EVEN = "layer % 2 == 0"
EQUAL: dict[str, dict[str, Any]] = {
    "soft_cap_of_latent_attention": {"attention": {"kind": "mla", "softcap": 1.3}},
    "layer_norm_a_row_a_head": {"attention": {"qk_norm": {"weights": "per_head", "kind": "layernorm", "bias": False}}},
    "layer_norm_a_row_a_head_with_biases": {"attention": {"qk_norm": {"weights": "per_head", "kind": "layernorm"}}},
    "transposed_apart": {"checkpoint": {"transposed": ["q_proj", "v_proj", "up_proj"]}},
    "transposed_of_latent_attention": {
        "attention": "mla",
        "checkpoint": {"transposed": ["q_proj", "kv_b_proj", "o_proj"]},
    },
    "no_rotation_in_some_latent_layers": {"attention": "mla", "layers": {"when": EVEN, "rope": "none"}},
    "activation_of_routed_experts_alone": {
        "mlp": {"kind": "moe", "experts": {"activation": "relu"}, "shared": {"width": "40"}}
    },
    "gate_then_norm": {"attention": {"gate": True, "inner_norm": "sub"}, "checkpoint": {"names": {"out_gate": "g"}}},
    "bias_of_a_role_in_a_group": {"attention": {"bias": {"qkv": False, "k": True}}},
    "bias_of_up_alone": {"mlp": {"bias": {"up": True}}},
    "correction_of_logits": {"mlp": {"kind": "moe", "router": {"order": "topk_first", "correction_bias": True}}},
    "dotted_names": {"checkpoint": {"names": {"layers": "bar.baz1", "q": "one.two", "down": "a.b", "model": "m.n"}}},
    "dotted_names_of_norms": {"attention": {"qk_norm": "head"}, "checkpoint": {"names": {"q_norm": "bar.baz"}}},
    "a_number_a_head_beside_the_gate": {
        "attention": {"gate": {"bias": "head", "activation": "softplus"}},
        "checkpoint": {"names": {"out_gate_bias": "gate.b", "out_gate": "g"}},
    },
    "a_number_a_head_and_a_gate_a_head": {"attention": {"gate": {"bias": "head", "per": "head"}, "inner_norm": "sub"}},
    "a_number_a_head_and_gates_beside_queries": {
        "attention": {"gate": {"bias": "head"}},
        "checkpoint": {"fused": {"q_proj": {"parts": ["q", "out_gate"], "groups": "config.num_attention_heads"}}},
    },
    "gates_of_latent_attention": {
        "attention": {"kind": "mla", "gate": {"per": "head", "bias": True}},
        "layers": {"when": EVEN, "attention": {"gate": {"per": "element", "bias": "head"}}},
    },
    "no_rotation_where_a_kind_of_layer_has_no_parameters": {
        "rope": {"parameters": "config.rope_parameters[config.layer_types[layer]]"},
        "layers": [
            {"by": "config.layer_types[layer]", "kinds": {"sliding_attention": {"attention": {"window": 6}}}},
            {"when": "config.rope_parameters[config.layer_types[layer]] is None", "rope": "none"},
        ],
    },
    "a_name_of_a_norm_that_is_a_part_in_some_layers": {
        "block": ["x = x + attention(input_layernorm(x))", "x = x + other(post_attention_layernorm(x))"],
        "layers": {"when": EVEN, "parts": {"other": {"kind": "gated", "width": "40"}}},
    },
    "two_kinds_of_attention_in_variants": {"variants": {"when": "config.one", "attention": "mla"}},
    "schedules_of_some_variants": {
        "variants": {"when": "config.one", "layers": {"when": EVEN, "attention": {"scale": 0.3}, "mlp": "plain"}},
        "layers": {"when": "layer > 1", "norm": {"eps": 0.1}},
    },
    "schedules_by_kind_of_some_variants": {
        "variants": {
            "by": "config.other",
            "kinds": {
                True: {"layers": [{"by": "layer % 3", "kinds": {0: {"mlp": "plain"}, 1: {}, 2: {"rope": "none"}}}]},
                False: {"norm": {"eps": 0.01}},
            },
        },
        "layers": [{"when": EVEN, "norm": {"eps": 0.1}}],
    },
    "a_head_over_the_first_rows": {"head": {"rows": 100, "tie": False, "bias": True}},
    "short_convolutions_between_attention": {
        "layers": {
            "when": EVEN,
            "attention": {"kind": "short_conv", "kernel": 3, "bias": True},
            "checkpoint": {"names": {"attention": "conv", "out": "out_proj"}},
        },
    },
    "short_convolutions_under_the_name_of_attention": {
        "layers": {"when": EVEN, "attention": {"kind": "short_conv", "kernel": 4}},
    },
    "short_convolutions_stored_in_another_order": {
        "attention": {"kind": "short_conv", "kernel": 3},
        "checkpoint": {"fused": {"xbc": ["x", "B", "C"]}},
    },
    "state_spaces_between_attention": {
        "layers": {
            "when": EVEN,
            "attention": {
                **{"kind": "mamba2", "heads": 6, "head_dim": 8, "groups": 3, "state": 5, "kernel": 4, "out_bias": True},
                **{"norm": {"groups": 2, "gate": "after"}, "multipliers": {"z": 0.7, "B": 1.3, "dt": 0.9}},
            },
            "checkpoint": {"names": {"attention": "mamba", "out": "out_proj"}},
        },
    },
    "state_spaces_without_a_norm_and_with_bounds": {
        "attention": {
            **{"kind": "mamba2", "heads": 6, "head_dim": 8, "groups": 2, "state": 5, "kernel": 3, "bias": True},
            **{"conv_bias": False, "dt_limit": "[0.2, 0.9]"},
        },
        "checkpoint": {"fused": {"zxd": ["x", "B", "C", "dt", "z"]}},
    },
    "selective_state_spaces_between_attention": {
        "layers": {
            "when": EVEN,
            "attention": {
                **{"kind": "mamba1", "width": 22, "state": 5, "dt_rank": 4, "kernel": 3, "bias": True},
                "inner_norms": {"names": ["dt_norm", "b.norm", "C_norm"], "eps": 0.01},
            },
            "checkpoint": {"names": {"attention": "mamba", "out": "out_proj", "attention.dt_proj": "steps"}},
        },
    },
    "selective_state_spaces_stored_in_another_order": {
        "attention": {"kind": "mamba1", "width": 26, "state": 6, "dt_rank": 3, "kernel": 4, "conv_bias": False},
        "checkpoint": {"fused": {"zx": ["z", "x"], "chosen": ["C", "dt", "B"]}},
    },
    "lightning_attention_between_attention": {
        "layers": {
            "when": EVEN,
            "attention": {"kind": "lightning", "decay": "1 - layer / config.num_hidden_layers", "norm": {"eps": 0.01}},
            "checkpoint": {
                "names": {"out": "out_proj", "out_gate": "of.gate", "mixer_norm": "y_norm"},
                "fused": {"qkv": {"parts": ["q", "k", "v"], "groups": "config.num_attention_heads"}},
            },
        },
    },
    "lightning_attention_with_two_of_three_fused": {
        "attention": {"kind": "lightning", "decay": 0.4, "heads": 4, "head_dim": 6, "activation": "sigmoid"},
        "checkpoint": {"fused": {"vq": {"parts": ["v", "q"], "groups": 2}}},
    },
    "gated_delta_nets_with_fused_projections": {
        "layers": {
            "when": EVEN,
            "attention": {
                **{"kind": "gated_delta_net", "key_heads": 2, "heads": 4, "key_dim": 6, "value_dim": 10, "kernel": 3},
                **{"beta": 2.0, "norm": {"eps": 0.01}},
            },
            "checkpoint": {
                "names": {"attention": "linear_attn", "b": "of.b", "a": "of.a"},
                "fused": {"qz": {"parts": ["q", "z"], "groups": 2}, "vk": ["v", "k"]}
                | {"conv": ["conv_q", "conv_k", "conv_v"]},
            },
        },
    },
    "gated_delta_nets_that_decay_by_channel": {
        "attention": {
            **{
                "kind": "gated_delta_net",
                "decay": "channel",
                "key_heads": 4,
                "heads": 4,
                "key_dim": 6,
                "value_dim": 10,
            },
            **{"kernel": 4, "gate_activation": "sigmoid", "norm": {"gate": "before"}},
        },
        "checkpoint": {
            "names": {"a": ["f_a", "f_b"], "z": ["g.a", "g.b"], "conv_q": "cq", "conv_k": "c.k", "conv_v": "cv"}
        },
    },
    "linear_recurrent_units_between_attention": {
        "layers": {
            "when": EVEN,
            "attention": {"kind": "rg_lru", "width": 36, "heads": 3},
            "checkpoint": {"names": {"x": "in.x", "y": "in.y", "recurrent_param": "in.of.rate", "conv": "in.of.conv"}},
        },
    },
    "linear_recurrent_units_with_few_taps": {
        "attention": {"kind": "rg_lru", "width": "config.hidden_size", "heads": 2, "kernel": 2, "activation": "gelu"},
    },
    "decays_with_a_bound": {
        "attention": {
            **{
                "kind": "gated_delta_net",
                "decay": "channel",
                "key_heads": 4,
                "heads": 4,
                "key_dim": 6,
                "value_dim": 10,
            },
            **{"kernel": 4, "decay_bound": -5.0},
        },
        "layers": {
            "when": EVEN,
            "attention": {"decay": "head", "key_heads": 2, "decay_bound": "-config.num_attention_heads"},
        },
        "checkpoint": {"fused": {"conv1d": ["conv_q", "conv_k", "conv_v"]}},
    },
    "names_beside_their_part": {
        "attention": {"sinks": True, "gate": {"bias": "head"}, "qk_norm": "head"},
        "mlp": {"kind": "moe", "router": {"correction_bias": True}},
        "checkpoint": {
            "names": {
                **{"mlp": "moe", "correction_bias": "..moe.router.expert_bias", "router": "..gates.router"},
                **{"sinks": "..sinks", "out_gate_bias": "..b", "q_norm": "..norms.q", "out": "..o", "v": "..v"},
            }
        },
    },
    "names_beside_latent_attention": {
        "attention": {"kind": "mla", "gate": True},
        "checkpoint": {"names": {"attention": "a.b", "kv_a": "..kv", "kv_a_norm": "..kv_norm", "out_gate": "..g"}},
    },
    "a_part_elsewhere_on_disk_in_some_layers": {
        "layers": {"when": EVEN, "mlp": "moe", "checkpoint": {"names": {"mlp": "sparse"}, "memory": {"mlp": "mlp"}}}
    },
    "bases_of_rotation_by_layer": {"layers": {"when": EVEN, "rope": {"theta": 77.0}}},
    "widths_of_rotation_by_layer": {
        "layers": [{"when": EVEN, "rope": {"width": 8, "theta": 77.0}}, {"when": "layer == 1", "rope": "none"}]
    },
    "another_base_of_a_scaled_table": {
        "rope": {"parameters": "config.rope_parameters", "theta": "53.0 + layer"},
        "tests": {"tiny": {"rope_parameters": {"rope_type": "linear", "rope_theta": 37.0, "factor": 2.5}}},
    },
    "bases_of_rotation_by_layer_beside_kinds": {
        "rope": {"parameters": "config.rope_parameters[config.layer_types[layer]]"},
        "layers": [
            {"by": "config.layer_types[layer]", "kinds": {"sliding_attention": {"attention": {"window": 6}}}},
            {"when": "layer == 1", "rope": {"theta": 77.0}},
        ],
    },
    "a_share_of_the_pairs_turns": {
        "tests": {
            "tiny": {
                "rope_parameters": {
                    **{"rope_type": "proportional", "rope_theta": 37.0},
                    **{"partial_rotary_factor": 0.5, "factor": 2.5},
                }
            }
        },
    },
    "names_of_norms_and_tables": {
        "input": "x = embed_norm(embed_tokens(ids)) + wpe(positions)",
        "output": "logits = lm_head(norms.last(x))",
        "parts": {"embed_norm": {"kind": "norm", "offset": 1}},
        "checkpoint": {
            "names": {
                **{"embed_tokens": "wte", "wpe": "pos.table", "embed_norm": "ln", "norms.last": "ln_f"},
                **{"input_layernorm": "ln.one", "model": "m.n", "layers": "h"},
            }
        },
    },
    "names_of_shared_experts": {
        "mlp": {"kind": "moe", "shared": {"width": "40"}},
        "checkpoint": {"names": {"shared.down": "w2", "experts.up": "w3", "mlp.router": "r"}},
    },
    "positions_from_the_mask": {"positions": "from_mask", "input": "x = embed_tokens(ids) + wpe(positions)"},
    "norm_by_layer": {"layers": {"when": "layer > 1", "norm": {"eps": 0.1}}},
    "width_of_an_own_class_by_layer": {
        "mlp": {"multipliers": {"down": 0.5}},
        "layers": {"when": EVEN, "mlp": {"width": "48"}},
    },
    "width_of_a_plain_class_by_layer": {"mlp": "plain", "layers": {"when": EVEN, "mlp": {"width": "48"}}},
    "functions_of_equations": {
        "block": [
            "h = gelu(attention(input_layernorm(x)))",
            "x = x + sigmoid(h) * tanh(h)",
            "x = x + silu(softcap(mlp(post_attention_layernorm(x)), 0.5))",
        ]
    },
    "no_rotation_by_either_flag": {
        "variants": [{"when": "config.one", "rope": "none"}, {"when": "not config.other", "rope": "none"}]
    },
    "no_bias_whatever_the_config_says": {"mlp": {"bias": False}, "layers": {"when": EVEN, "mlp": "plain"}},
    "layer_in_an_equation": {
        "block": ["x = x + attention(a.b(x)) / (layer + 1)", "x = x + mlp(post_attention_layernorm(x))"]
    },
    "clip_by_none": {"attention": {"clip": "none"}},
    "dotted_names_of_shared_experts": {
        "mlp": {"kind": "moe", "shared": {"width": "40"}},
        "checkpoint": {"names": {"gate": "a.b"}},
    },
    "dotted_names_of_flat_experts": {
        "mlp": "moe",
        "checkpoint": {"experts": "flat", "names": {"experts.up": "bar.baz", "experts": "all.of"}},
    },
    "scale_of_alibi_by_the_config": {"rope": "none", "attention": {"alibi": {"scaled": "config.one"}}},
    "further_mlps": {
        "mlp": {"kind": "gated", "width": 40, "bias": {"down": True}},
        "parts": {
            "wide": {"kind": "gated", "bias": {"up": True}, "activation": "relu", "multipliers": {"down": 0.5}},
            "low": {"kind": "plain", "width": 24, "inner_norm": "sub"},
        },
        "block": [
            "x = x + attention(input_layernorm(x))",
            "h = mlp_norm(x)",
            "x = x + mlp(h) + wide(h) * 0.7 + low(h)",
        ],
        "checkpoint": {"names": {"wide": "second.wide", "low.up": "a", "wide.gate": "g"}, "transposed": ["a"]},
    },
    "a_further_mlp_of_another_kind_by_layer": {
        "parts": {"second": {"kind": "gated", "width": 40}},
        "block": ["x = x + attention(input_layernorm(x))", "x = x + mlp(x) + second(post_attention_layernorm(x))"],
        "layers": {"when": EVEN, "parts": {"second": {"kind": "plain", "width": 24}}},
        "checkpoint": {"transposed": ["up_proj"]},
    },
    "further_mlps_beside_experts": {
        "mlp": "moe",
        "parts": {"second": {"kind": "gated", "width": 40}},
        "block": [
            "x = x + attention(input_layernorm(x))",
            "h = post_attention_layernorm(x)",
            "x = x + mlp(h) + second(h)",
        ],
        "layers": {"when": EVEN, "mlp": "gated"},
    },
    "a_further_mlp_that_is_fused": {
        "mlp": "plain",
        "parts": {"second": {"kind": "gated", "width": 40}},
        "block": [
            "x = x + attention(input_layernorm(x))",
            "h = post_attention_layernorm(x)",
            "x = x + mlp(h) + second(h)",
        ],
        "checkpoint": {"fused": {"gate_up": ["gate", "up"]}},
    },
    "heads_by_layer": {"layers": {"when": EVEN, "attention": {"heads": "4", "kv_heads": "2"}}},
}
TABLE = {"rope_type": "default", "rope_theta": 1e4}
KINDS = ["full_attention", "sliding_attention"] * 16
FIELDS: dict[str, dict[str, Any]] = {
    "a_part_elsewhere_on_disk_in_some_layers": {"num_experts": 8, "num_experts_per_tok": 2},
    "no_rotation_where_a_kind_of_layer_has_no_parameters": {
        "layer_types": KINDS,
        "rope_parameters": {"full_attention": None, "sliding_attention": TABLE},
    },
    "two_kinds_of_attention_in_variants": LATENT,
    "bases_of_rotation_by_layer_beside_kinds": {
        "layer_types": KINDS,
        "rope_parameters": {"full_attention": dict(TABLE), "sliding_attention": TABLE},
    },
}
