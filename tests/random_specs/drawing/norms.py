"""Norms."""

from typing import Any

from tests.random_specs.drawing.dice import Dice


def norm(dice: Dice) -> Any:
    """The section that every norm inherits, or a norm's own keys."""
    if dice(0.15):
        return dice.of("layernorm", "rmsnorm")
    found = dice.maybe(
        kind=(0.4, ["layernorm", "rmsnorm"]),
        weight=(0.08, [False, True]),
        bias=(0.15, [True, False, "config.norm_bias"]),
        offset=(0.2, [0, 1]),
        cast=(0.3, "after_weight"),
        eps=(0.3, [1e-5, 0.02, "config.rms_norm_eps", "config.other_eps"]),
    )
    if dice(0.04):
        found["kind"] = "config.norm_kind"
    if found.get("bias") not in (None, False) and dice(0.7):
        found["kind"] = "layernorm"
    return found


def own(dice: Dice) -> dict[str, Any]:
    """The same as a mapping."""
    found = norm(dice)
    return {"kind": found} if isinstance(found, str) else found
