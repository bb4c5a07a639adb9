"""The default of everything (Llama), and how overlays are merged over it."""

import copy

from tests.reference.interpreter.values import value

WIRINGS = {
    "pre_norm": ["x = x + attention(input_layernorm(x))", "x = x + mlp(post_attention_layernorm(x))"],
    "post_norm": [
        "x = x + post_attention_layernorm(attention(x))",
        "x = x + post_feedforward_layernorm(mlp(x))",
    ],
    "sandwich": [
        "x = x + post_attention_layernorm(attention(input_layernorm(x)))",
        "x = x + post_feedforward_layernorm(mlp(pre_feedforward_layernorm(x)))",
    ],
    "parallel": ["h = input_layernorm(x)", "x = x + attention(h) + mlp(h)"],
}
NAMES = {
    **{"model": "model", "layers": "layers", "attention": "self_attn", "mlp": "mlp", "head": "lm_head"},
    **{"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "o_proj", "q_norm": "q_norm", "k_norm": "k_norm"},
    **{"conv": "conv1d", "mixer_norm": "norm"},
    **{"sinks": "sinks", "out_gate": "gate_proj", "gate": "gate_proj", "up": "up_proj", "down": "down_proj"},
    **{"router": "gate", "experts": "experts", "shared": "shared_experts", "shared_gate": "shared_expert_gate"},
    **{"correction_bias": "gate.e_score_correction_bias", "activation": "act_fn"},
    **{"q_a": "q_a_proj", "q_a_norm": "q_a_layernorm", "q_b": "q_b_proj", "kv_b": "kv_b_proj"},
    **{"kv_a": "kv_a_proj_with_mqa", "kv_a_norm": "kv_a_layernorm"},
    **{"latent_in": "fc1_latent_proj", "latent_out": "fc2_latent_proj"},
}
DEFAULT = {
    "input": "x = embed_tokens(ids)",
    "block": "pre_norm",
    "output": "logits = lm_head(norm(x))",
    "positions": "arange",
    "norm": {"kind": "rmsnorm"},
    "rope": {"layout": "half"},
    "attention": {"kind": "gqa"},
    "mlp": {"kind": "gated"},
    "parts": {},
    "head": {},
    "checkpoint": {"names": {}, "fused": {}, "transposed": [], "experts": "per_expert", "drop": [], "float32": []},
}
CHAINS = {  # the first that the config has, and that is not None
    "heads": ["config.num_attention_heads"],
    "kv_heads": ["config.num_key_value_heads", "config.num_attention_heads"],
    "head_dim": ["config.head_dim", "config.hidden_size // config.num_attention_heads"],
    "attention_bias": ["config.attention_bias", "False"],
    "mlp_bias": ["config.mlp_bias", "False"],
    "eps": [
        *("config.rms_norm_eps", "config.layer_norm_eps", "config.layer_norm_epsilon"),
        *("config.norm_epsilon", "config.norm_eps"),
    ],
    "activation": ["config.hidden_act", "config.hidden_activation", "config.activation_function"],
    "width": ["config.intermediate_size"],
    "count": ["config.num_experts", "config.num_local_experts", "config.n_routed_experts", "config.moe_num_experts"],
    "top_k": ["config.num_experts_per_tok", "config.moe_topk"],
    "expert_width": ["config.moe_intermediate_size", "config.intermediate_size"],
    "unit_kernel": ["config.conv1d_width", "4"],
    "parameters": ["config.rope_parameters"],
    "tie": ["config.tie_word_embeddings"],
}
KINDS = {  # what the usual words of schedules mean, unless the spec says otherwise
    "full_attention": {},
    "sliding_attention": {"attention": {"window": "config.sliding_window"}},
    "chunked_attention": {"attention": {"chunk": "config.attention_chunk_size"}},
    "dense": {"mlp": "gated"},
    "sparse": {},
}
KINDED = ("norm", "attention", "mlp")
FRAME = ("name", "architecture", "config", "summary", "docs", "tests", "overrides", "why")


def opened(section, written):
    """A section given as a bare word is its kind: `mlp: plain`."""
    return {"kind": written} if section in KINDED and isinstance(written, str) else written


def merge(below, above, top=False):
    """Mappings merge key by key, all else replaces; a mapping of another kind replaces the whole."""
    out = dict(below)
    for key, new in above.items():
        new = opened(key, new) if top else new
        old = out.get(key)
        both = isinstance(new, dict) and isinstance(old, dict)
        another = both and "kind" in new and "kind" in old and new["kind"] != old["kind"]
        out[key] = merge(old, new) if both and not another else copy.deepcopy(new)
    return out


def base(spec, names):
    """The sections over Llama's, with the variants that hold."""
    sections = {key: section for key, section in spec.items() if key not in (*FRAME, "variants")}
    return overlaid(merge(DEFAULT, sections, True), spec.get("variants", []), names)


def overlaid(sections, rules, names):
    """The sections with the overlays that hold, one after the other."""
    for rule in [rules] if isinstance(rules, dict) else rules:
        if "by" in rule:
            kinds = {**KINDS, **rule.get("kinds", {})}
            sections = merge(sections, kinds[value(rule["by"], names)] or {}, True)
        elif value(rule["when"], names):
            sections = merge(sections, {key: new for key, new in rule.items() if key not in ("when", "why")}, True)
    return sections
