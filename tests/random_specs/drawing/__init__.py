"""Draws well-formed specs over every axis of the language; what a draw says need not fit together."""

import random
from typing import Any

from tests.random_specs.drawing.attention import attention, rope, scaled
from tests.random_specs.drawing.dice import Dice
from tests.random_specs.drawing.fields import fielded
from tests.random_specs.drawing.mlp import mlp
from tests.random_specs.drawing.norms import norm
from tests.random_specs.drawing.overlays import layers, variants
from tests.random_specs.drawing.storage import checkpoint
from tests.random_specs.drawing.wiring import wire

__all__ = ["draw"]


def draw(seed: int) -> dict[str, Any]:
    """The spec of a seed, its frame included."""
    dice = Dice(random.Random(seed))
    spec: dict[str, Any] = {}
    for name, section in (
        ("norm", norm(dice) if dice(0.5) else None),
        ("rope", rope(dice)),
        ("attention", attention(dice)),
        ("mlp", mlp(dice)),
        ("embedding", {"padding_idx": dice.of("none", "config.pad_token_id", 3)} if dice(0.06) else None),
        ("dropout", {dice.of("embedding", "attention", "residual"): dice.of(0.1, "config.some_dropout")}),
    ):
        if section and (name != "dropout" or dice(0.08)):
            spec[name] = section
    wire(dice, spec)
    if found := layers(dice, spec):
        spec["layers"] = found if len(found) > 1 or dice(0.2) else found[0]
    if found := variants(dice, spec):
        spec["variants"] = found if len(found) > 1 else found[0]
    if stored := checkpoint(dice, spec):
        spec["checkpoint"] = stored
    if dice(0.12) and "theta" not in str(spec.get("rope")):
        spec["tests"] = {"tiny": {"rope_parameters": scaled(dice)}}
    return fielded(f"rnd{seed}", spec, dice)
