"""How the weights lie on disk."""

from typing import Any

from tests.random_specs.drawing.dice import Dice

ROLES = ["model", "layers", "attention", "mlp", "out", "down"]
LATENT = ["q_a", "q_b", "kv_a", "kv_b", "q_a_norm", "kv_a_norm"]
FOUND = [*ROLES, "q", "k", "gate", "up", "sinks", "q_norm", "router", "experts", "shared", "head", "correction_bias"]

CALLED = ["embed_tokens", "norm", "input_layernorm", "post_attention_layernorm"]  # what most equations call


def checkpoint(dice: Dice, spec: dict[str, Any]) -> dict[str, Any]:
    attention, mlp = (_opened(spec.get(name, {})) for name in ("attention", "mlp"))
    found: dict[str, Any] = {"names": {}, "fused": {}, "transposed": []}
    if attention.get("gate"):
        found["names"]["out_gate"] = "g_proj"
        if "head" in str(attention["gate"]) and dice(0.4):
            found["names"]["out_gate_bias"] = dice.of("g_bias", "gate.b")
    if attention.get("kind", "gqa") == "gqa":
        _grouped(dice, attention, found)
    elif dice(0.15):
        found["transposed"] += dice.some(["q_b_proj", "kv_b_proj", "o_proj", "kv_a_proj_with_mqa"], 2)
    if mlp.get("kind", "gated") == "moe":
        _experts(dice, mlp, found)
    elif mlp.get("kind", "gated") == "gated":
        _gated(dice, found)
    elif dice(0.2):
        found["transposed"] += dice.some(["up_proj", "down_proj"], 2)
    if dice(0.2):
        names = {role: _path(dice, place) for place, role in enumerate(dice.some(_roles(attention, mlp), 3))}
        found["names"] |= names
    if dice(0.08):
        found["names"] |= {name: _path(dice, place + 5) for place, name in enumerate(dice.some(CALLED, 2))}
    if dice(0.03):
        found["names"][dice.of(*FOUND)] = "strange"
    if dice(0.05):
        found["drop"] = [{"match": dice.of("mtp.*", "*.rotary_emb.inv_freq"), "why": "not of the model"}]
    if attention.get("sinks") and dice(0.15):
        found["unsqueezed"] = ["sinks"]
    return {name: section for name, section in found.items() if section}


def _opened(section: Any) -> dict[str, Any]:
    return {"kind": section} if isinstance(section, str) else section


def _path(dice: Dice, place: int) -> str:
    return dice.of("foo", "bar.baz", "w9", "a.b.c", "..beside") + str(place)


def _roles(attention: dict[str, Any], mlp: dict[str, Any]) -> list[str]:
    """Roles that the parts have, as far as a look at them tells."""
    found = [*ROLES, "attention.out", "mlp.down"]
    found += LATENT if attention.get("kind") == "mla" else ["q", "v"]
    found += ["q_norm", "k_norm"] if attention.get("qk_norm") else []
    found += ["sinks"] if attention.get("sinks") else []
    if mlp.get("kind") == "moe":
        found += ["router", "experts", "experts.up", "experts.down", "correction_bias"]
        found += ["shared", "shared.down"] if "shared" in mlp else []
        found += ["shared_gate"] if mlp.get("shared", {}).get("gate") == "sigmoid" else []
    return found if mlp.get("kind") == "plain" else [*found, "gate"]


def _grouped(dice: Dice, attention: dict[str, Any], found: dict[str, Any]) -> None:
    if dice(0.25):
        groups = {"parts": ["q", "k", "v"], "groups": attention.get("kv_heads", "config.num_key_value_heads")}
        found["fused"]["qkv_proj"] = dice.of(["q", "k", "v"], ["q", "k", "v"], groups, groups, ["v", "q", "k"])
        found["transposed"] += ["qkv_proj"] if dice(0.3) else []
    elif dice(0.08):
        found["transposed"] += dice.some(["q_proj", "k_proj", "v_proj"], 3)
    elif attention.get("gate") and dice(0.2):
        found["fused"]["q_proj"] = {"parts": ["q", "out_gate"], "groups": "config.num_attention_heads"}
        del found["names"]["out_gate"]
    found["transposed"] += ["o_proj"] if dice(0.12) else []
    found["transposed"] += ["g_proj"] if "out_gate" in found["names"] and dice(0.1) else []


def _gated(dice: Dice, found: dict[str, Any]) -> None:
    if dice(0.2):
        groups = {"parts": ["gate", "up"], "groups": dice.of("config.intermediate_size", 2)}
        found["fused"]["gate_up_proj"] = dice.of(["gate", "up"], ["up", "gate"], groups)
        found["transposed"] += ["gate_up_proj"] if dice(0.3) else []
    elif dice(0.06):
        found["transposed"] += dice.some(["gate_proj", "up_proj"], 2)
    found["transposed"] += ["down_proj"] if dice(0.1) else []


def _experts(dice: Dice, mlp: dict[str, Any], found: dict[str, Any]) -> None:
    experts = mlp.get("experts", {})
    if mlp.get("router", {}).get("correction_bias") and dice(0.3):
        found["float32"] = [dice.of("*e_score_correction_bias", "*.gate.weight")]
    if dice(0.5):
        return
    found["experts"] = dice.of("stacked", "stacked", "flat")
    apart = ["experts.up_proj"] if experts.get("kind") == "plain" else ["experts.up_proj", "experts.gate_proj"]
    if experts.get("kind") != "plain" and dice(0.6):
        groups = {"parts": ["gate", "up"], "groups": experts.get("width", "config.moe_intermediate_size")}
        found["fused"]["experts.gate_up_proj"] = dice.of(["gate", "up"], ["up", "gate"], groups)
        apart = ["experts.gate_up_proj"]
    found["transposed"] += apart if dice(0.4) else []
    found["transposed"] += ["experts.down_proj"] if dice(0.4) else []
