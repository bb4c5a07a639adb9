"""Channel mixers."""

from typing import Any

from tests.random_specs.drawing.dice import Dice

ACTIVATIONS = [
    *("gelu", "gelu_10", "gelu_accurate", "gelu_bloom", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh"),
    *("gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2"),
    *("relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh"),
]
GLU = [{"limit": 0.7}, {"alpha": 1.702}, {"up_offset": 1}, {"limit": 7.0, "alpha": 1.702, "up_offset": 1}]
RENORMALIZE = [
    *(True, "config.norm_topk_prob", {"eps": 1e-20}, {"when": "config.norm_topk_prob", "eps": 1e-9}),
    *({"min": 0.65}, {"norm": 1.7}, {"norm": "config.norm_p"}),
]


def mlp(dice: Dice) -> Any:
    kind = dice.of("gated", "gated", "plain", "moe", "moe")
    found = moe(dice) if kind == "moe" else dense(dice, plain=kind == "plain")
    if kind == "gated" and dice(0.8):
        return found
    return {"kind": kind, **found} if found else kind


def activation(dice: Dice) -> Any:
    return dice.of(*ACTIVATIONS, "config.hidden_act", "config.other_act")


def dense(dice: Dice, plain: bool) -> dict[str, Any]:
    roles = ["up", "down"] if plain else ["gate", "up", "down"]
    flags = {role: dice.of(True, False, "config.some_bias") for role in dice.some(roles, 2)}
    found = dice.maybe(
        activation=(0.25, activation(dice)),
        bias=(0.25, [True, False, flags, flags]),
        inner_norm=(0.1, "ffn_sub_norm"),
        multipliers=(0.15, [{role: dice.factor() for role in dice.some(roles, 2)}]),
        width=(0.12, ["config.intermediate_size // 2", "4 * config.hidden_size", "48", "48 if layer % 2 else 36"]),
    )
    if not plain and dice(0.12):
        found["glu"] = dice.of(*GLU)
    return found


def moe(dice: Dice) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, chance, section in (
        ("router", 0.75, router(dice)),
        ("experts", 0.55, experts(dice)),
        ("shared", 0.35, shared(dice)),
        ("activation", 0.2, activation(dice)),
        ("glu", 0.12, dice.of(*GLU)),
        ("scale", 0.12, dice.of(0.37, "config.mult")),
        ("latent", 0.1, dice.of("config.latent_size", "32", "none")),
    ):
        if section and dice(chance):
            found[name] = section
    if "alpha" in found.get("glu", {}) and dice(0.8):
        for section in (found, found.get("experts", {}), found.get("shared", {})):
            section.pop("activation", None)
    if found.get("experts", {}).get("kind") == "plain" and "shared" not in found:
        found.pop("glu", None)
    return {name: section for name, section in found.items() if section != {}}


def router(dice: Dice) -> dict[str, Any]:
    if dice(0.04):
        return {"order": "sparsemixer", "jitter": dice.of(0.01, "config.jitter"), **dice.maybe(bias=(0.3, True))}
    found = dice.maybe(
        score=(0.4, ["sigmoid", "softmax", "config.score_func"]),
        order=(0.3, ["topk_first", "score_first"]),
        bias=(0.15, [True, "config.some_bias"]),
        softcap=(0.1, [1.3, "config.softcap", "none"]),
        correction_bias=(0.25, [True, "config.use_cb", False]),
        scale=(0.2, [2.5, "config.mult"]),
        dtype=(0.15, ["float32", "model"]),
        weights_dtype=(0.15, "float32"),
        aux_loss=(0.08, [0.01, "config.mult", "none"]),
        renormalize=(0.35, RENORMALIZE),
    )
    if dice(0.2) and found.get("order") != "topk_first":
        found["groups"] = {"count": "config.n_group", "keep": "config.topk_group"} | dice.maybe(
            score=(0.5, ["max", "top2_sum"]), when=(0.25, "config.n_group > 1")
        )
        if found.get("correction_bias") and dice(0.4):
            found["groups"]["masked"] = dice.of(0.0, "-inf")
    return found


def experts(dice: Dice) -> dict[str, Any]:
    found = dice.maybe(
        kind=(0.2, ["plain", "gated"]),
        bias=(0.2, [True, True, "config.some_bias", {"down": True}]),
        weight_at=(0.12, ["input", "output"]),
        activation=(0.15, activation(dice)),
        top_k=(0.1, ["2", "per_layer(config.num_experts_per_tok, layer)"]),
        width=(0.1, ["config.intermediate_size", 44]),
        count=(0.05, [8, "config.num_experts"]),
    )
    if found.get("weight_at") != "input" and dice(0.08):
        found["sum"] = "at_once"
    return found


def shared(dice: Dice) -> dict[str, Any]:
    widths = ["config.moe_intermediate_size", "config.moe_intermediate_size * config.n_shared_experts", "40"]
    return {"width": dice.of(*widths)} | dice.maybe(
        kind=(0.2, ["plain", "gated"]),
        gate=(0.3, ["sigmoid", "none"]),
        combine=(0.2, "mean"),
        bias=(0.2, [True, False, {"down": True}]),
        when=(0.15, ["config.use_shared", "layer % 2 == 1"]),
        activation=(0.12, activation(dice)),
    )
