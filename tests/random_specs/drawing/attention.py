"""Attention and its rotation."""

from typing import Any

from tests.random_specs.drawing.dice import Dice
from tests.random_specs.drawing.norms import own

LATENT = ["q", "q_a", "q_b", "kv_a", "kv_b", "out"]


def rope(dice: Dice) -> Any:
    if dice(0.15):
        return "none"
    return dice.maybe(
        layout=(0.25, ["interleaved", "half", "config.rope_interleave"]),
        sign=(0.08, -1),
        width=(0.1, ["config.head_dim // 2", "config.rotary_dim", 8]),
        theta=(0.08, [10000.0, 500.0, "config.rope_theta_2"]),
        table_dtype=(0.1, "float32"),
        apply_dtype=(0.08, "float32"),
    )


def scaled(dice: Dice) -> dict[str, Any]:
    """Parameters of a table that is scaled."""
    kinds: dict[str, dict[str, Any]] = {
        "proportional": {"partial_rotary_factor": 0.5} | dice.maybe(factor=(0.5, 2.5)),
        "linear": {"factor": 2.5},
        "yarn": {"factor": 4.0, "original_max_position_embeddings": 16},
        "llama3": {
            **{"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0},
            "original_max_position_embeddings": 16,
        },
    }
    kind = dice.of("proportional", *kinds)
    return {"rope_type": kind, "rope_theta": 37.0, **kinds[kind]}


def attention(dice: Dice) -> Any:
    if dice(0.015):
        return {"kind": dice.of("mamba2", "mamba1", "short_conv", "lightning"), "heads": 4}
    found = _latent(dice) if dice(0.2) else _grouped(dice)
    found |= dice.maybe(
        scale=(0.15, ["head_dim ** -0.5 * config.mult", 0.25, "config.mult ** -0.5", "1.0", "head_dim ** -1"]),
        softcap=(0.15, ["config.softcap", 1.3, "none"]),
        window=(0.15, ["config.sliding_window", "5", 7, "config.sliding_window if layer % 2 else None"]),
        chunk=(0.06, ["config.chunk_size", "7"]),
        softmax_dtype=(0.06, "model"),
        scores_dtype=(0.06, ["float32", "once"]),
    )
    return found if found.keys() - {"kind"} or not found else found["kind"]


def _latent(dice: Dice) -> dict[str, Any]:
    roles = dice.some(LATENT, 3)
    return {"kind": "mla"} | dice.maybe(
        bias=(0.25, [True, False, {role: dice.of(True, False, "config.attention_bias") for role in roles}]),
        latent_norm=(0.25, [own(dice), {"offset": 1}, {"kind": "layernorm", "bias": True}]),
        multipliers=(0.2, [{role: dice.factor() for role in dice.some(["q", "k", "v"], 2)}]),
        q_rank=(0.15, ["none", 20]),
        nope=(0.06, 10),
        gate=(0.15, [_gate(dice), True]),
        v=(0.06, [14, "config.v_head_dim"]),
        heads=(0.1, ["4", "config.num_attention_heads"]),
        multipliers_dtype=(0.03, "model"),
    )


def _grouped(dice: Dice) -> dict[str, Any]:
    roles = dice.some(["q", "k", "v", "out"], 3)
    group = dice.of({"qkv": True}, {"qkv": True, "out": False}, {"qkv": False, "k": True}, {"qkv": True, "v": False})
    found = dice.maybe(
        kv_heads=(0.12, ["1", "config.num_attention_heads", "2", 2]),
        head_dim=(0.1, ["config.hidden_size // config.num_attention_heads", "16", 10]),
        v_head_dim=(0.1, ["config.v_dim", "8"]),
        bias=(0.3, [True, False, {role: dice.of(True, False, "config.some_bias") for role in roles}, group]),
        clip=(0.12, [0.8, "config.clip", "none"]),
        qk_norm=(0.35, [_qk_norm(dice), _qk_norm(dice), "head", "projection"]),
        gate=(0.18, [_gate(dice), _gate(dice), True]),
        inner_norm=(0.1, ["attn_sub_norm", "sub"]),
        multipliers=(0.2, [_multipliers(dice)]),
        sinks=(0.12, [True, "config.some_sinks", "layer % 2 == 1", False]),
        alibi=(0.08, [True, *({"scaled": flag} for flag in (True, "config.alibi_scaled")), *_rounded(dice)]),
    )
    if dice(0.06):
        found |= {"heads": dice.of("4", 4), "kv_heads": dice.of("2", "4")}
    if found.get("sinks") and dice(0.3):
        found["sinks_dtype"] = "float32"
    return found


def _rounded(dice: Dice) -> list[dict[str, Any]]:
    return [{"dtype": "bfloat16"}, {"counted": "end"} | dice.maybe(sum_dtype=(0.5, "float32"))]


def _multipliers(dice: Dice) -> dict[str, Any]:
    found = {role: dice.factor() for role in dice.some(["q", "k", "v"], 2)}
    if dice(0.2):
        found["q"] = dice.of("1 + 0.1 * log(1 + floor(position / 4))", "1 + config.mult * position / (layer + 8)")
    return found


def _gate(dice: Dice) -> dict[str, Any]:
    found = dice.maybe(
        per=(0.5, ["head", "element"]),
        activation=(0.4, ["softplus", "sigmoid"]),
        bias=(0.4, [True, "config.some_bias", "head"]),
    )
    return found or {"per": "element"}


def _qk_norm(dice: Dice) -> dict[str, Any]:
    found = own(dice) | dice.maybe(
        over=(0.3, ["projection", "head"]), when=(0.12, ["config.use_qk_norm", "layer % 2 == 0"])
    )
    if found.get("over") != "projection":
        found |= dice.maybe(place=(0.25, "after_rope"), weights=(0.35, ["per_head", "modules", "shared"]))
    return found or {"over": "head"}
