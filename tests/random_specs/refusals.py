"""Specs that once were taken and meant something else than they say, and why they are refused."""

from typing import Any

from tests.random_specs.samples import EVEN

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a_path_that_ends_another": (
        {
            "parts": {"wide": {"kind": "gated"}},
            "block": ["h = norm(x)", "x = x + attention(h) + mlp(h) + wide(h)"],
            "checkpoint": {"names": {"wide": "second.mlp"}},
        },
        "'second.mlp' ends like mlp",
    ),
    "a_gate_of_a_plain_part": (
        {
            "parts": {"wide": {"kind": "plain", "multipliers": {"gate": 2}}},
            "block": ["h = norm(x)", "x = x + attention(h) + mlp(h) + wide(h)"],
        },
        "a plain MLP has no gate",
    ),
    "biases_of_a_fused_part": (
        {
            "parts": {"wide": {"kind": "gated", "bias": {"up": True}}},
            "block": ["h = norm(x)", "x = x + attention(h) + mlp(h) + wide(h)"],
            "checkpoint": {"fused": {"gate_up": ["gate", "up"]}},
        },
        "which has one bias for all",
    ),
    "a_name_of_a_part_that_modules_use": (
        {
            "parts": {"wide": {"kind": "plain"}},
            "block": ["h = norm(x)", "x = x + attention(h) + mlp(h) + wide(h)"],
            "checkpoint": {"names": {"wide.up": "forward"}},
        },
        "'forward' is used by every",
    ),
    "bias_of_rms_norm": ({"norm": {"bias": True, "cast": "after_weight"}}, "an rmsnorm has no bias"),
    "bias_without_weight": (
        {"norm": {"kind": "layernorm", "weight": False, "bias": True}},
        "a norm without weight has no bias",
    ),
    "bias_inherited": (
        {"norm": {"kind": "layernorm", "bias": True}, "attention": {"qk_norm": {"kind": "rmsnorm"}}},
        "an rmsnorm has no bias",
    ),
    "bias_of_a_role_in_a_fused_matrix": (
        {"attention": {"bias": {"q": True}}, "checkpoint": {"fused": {"qkv_proj": ["q", "k", "v"]}}},
        "q, k, v lie in qkv_proj, which has one bias for all",
    ),
    "bias_of_a_role_of_experts": (
        {"mlp": {"kind": "moe", "experts": {"bias": {"down": True}}}},
        "the projections of experts have biases all or none",
    ),
    "transposed_in_some_layers": (
        {"layers": {"when": EVEN, "checkpoint": {"transposed": ["down_proj"]}}},
        "holds for all layers and variants alike",
    ),
    "transposed_nothing": ({"checkpoint": {"transposed": ["lm_head"]}}, "'lm_head' is no stored matrix"),
    "head_by_layer": ({"layers": {"when": EVEN, "head": {"bias": True}}}, "exists once for the whole model"),
    "alibi_by_layer": (
        {"rope": "none", "layers": {"when": EVEN, "attention": {"alibi": True}}},
        "exists once for the whole model",
    ),
    "head_dim_by_layer": ({"attention": {"head_dim": "16 if layer % 2 else 24"}}, "differs between layers"),
    "blocks_by_layer": (
        {"checkpoint": {"fused": {"qkv_proj": {"parts": ["q", "k", "v"], "groups": "layer + 1"}}}},
        "exists once for the whole model",
    ),
    "window_and_chunk": ({"attention": {"window": 5, "chunk": 7}}, "window and chunk exclude each other"),
    "name_of_nothing": ({"checkpoint": {"names": {"sinks": "s"}}}, "nothing here has the role 'sinks'"),
    "fused_of_nothing": (
        {"attention": "mla", "checkpoint": {"fused": {"qkv_proj": ["q", "k", "v"]}}},
        "no part stores q, k, v in one tensor of this name",
    ),
    "attention_from_the_second_layer_on": (
        {"block": ["x = x + mlp(ln(x))"], "layers": {"when": "layer > 0", "block": "pre_norm"}},
        "caches count the past there",
    ),
    "attention_that_is_not_called": (
        {"block": ["x = x + mlp(ln(x))"], "attention": {"window": 5}},
        "no equation calls attention",
    ),
    "tied_widths": (
        {
            "input": "x = into(embed_tokens(ids))",
            "parts": {"into": {"kind": "linear", "in": "40", "out": "config.hidden_size"}},
        },
        "they cannot be one matrix",
    ),
    "heads_that_do_not_divide": ({"attention": {"heads": "4", "kv_heads": "3"}}, "do not divide the 4 query heads"),
    "blocks_that_do_not_divide": (
        {"checkpoint": {"fused": {"gate_up_proj": {"parts": ["gate", "up"], "groups": 7}}}},
        "blocks do not divide",
    ),
    "groups_of_all_experts": (
        {"mlp": {"kind": "moe", "router": {"order": "topk_first", "groups": {"count": 4, "keep": 2}}}},
        "order: topk_first chooses among all experts",
    ),
}
