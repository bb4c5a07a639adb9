"""`layers` and `variants`."""

from typing import Any

from tests.random_specs.drawing.dice import Dice
from tests.random_specs.drawing.mlp import dense
from tests.random_specs.drawing.norms import norm
from tests.random_specs.drawing.wiring import BLOCKS


def layers(dice: Dice, spec: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    attention = spec.get("attention", {})
    latent = attention == "mla" or (isinstance(attention, dict) and attention.get("kind") == "mla")
    turns = spec.get("rope") != "none"
    if dice(0.22):
        kinds = {"rope": "none"} if turns else {"attention": {"softcap": 1.1}}
        windowed = isinstance(attention, dict) and "window" in attention
        own = {"kinds": {"sliding_attention": kinds}} if windowed or dice(0.2) else {}
        found.append({"by": "config.layer_types[layer]", **own})
    if dice(0.12) and "moe" in str(spec.get("mlp")):
        found.append({"when": "layer < config.first_k_dense_replace", "mlp": "gated"})
    for chance, rule in (
        (0.08, {"when": "layer % 2 == 1", "mlp": _other_mlp(dice, spec)}),
        (0.07, {"when": "layer % 3 == 2", "rope": dice.of("none", {"layout": "interleaved"}, {"theta": 77.0})}),
        (0.05, {"when": "layer == 1", "block": dice.of(*(block for block in BLOCKS if block != spec.get("block")))}),
        (0.05, {"when": "layer == config.num_hidden_layers - 1", "attention": {"scale": 0.3}}),
        (0.05, {"when": "layer % 2 == 0", "attention": {"heads": "4"} if latent else {"heads": "4", "kv_heads": "2"}}),
        (0.05, {"when": "layer > 1", "norm": dice.of({"eps": 0.1}, {"offset": 1}, norm(dice) or {"eps": 0.05})}),
        (0.04, {"when": "layer in config.some_layers", "attention": dice.of({"bias": True}, {"window": 6})}),
        (
            0.03,
            {"when": "layer > 0", "checkpoint": {"names": {dice.of("out", "down", "mlp"): dice.of("other", "o.p")}}},
        ),
        (0.02, {"when": "layer > 1", dice.of("head", "embedding"): {dice.of("bias", "padding_idx"): 1}}),
    ):
        if dice(chance) and (turns or "rope" not in rule):
            found.append(rule)
    return found


def _other_mlp(dice: Dice, spec: dict[str, Any]) -> Any:
    if "moe" in str(spec.get("mlp")) and dice(0.5):
        return {dice.of("scale", "activation"): dice.of(0.5, "relu")} if dice(0.3) else {"experts": {"top_k": 3}}
    return dice.of(
        {"kind": "plain", "activation": "relu2"}, {"kind": "gated", "width": "48"}, dense(dice, False) or "plain"
    )


def variants(dice: Dice, spec: dict[str, Any]) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = [
        *({"block": "parallel"}, {"norm": {"kind": "layernorm"}}, {"attention": {"softcap": 1.1}}, {"rope": "none"}),
        *({"mlp": {"kind": "plain"}}, {"output": "logits = lm_head(norm(x)) * 3"}, {"attention": {"bias": True}}),
        *({"mlp": {"kind": "moe"}}, {"norm": {"offset": 1}}, {"head": {"bias": True}}),
    ]
    found = [{"when": "config.other_form", **dice.of(*changes)}] if dice(0.15) else []
    if found and dice(0.3):
        found.append({"when": "not config.third_form", **dice.of(*changes)})
    return found
