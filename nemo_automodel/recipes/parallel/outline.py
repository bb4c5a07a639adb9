"""The recipe's model without its weights, for what has to be known before they are read."""

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from nemo_automodel.components.models.common.checkpoint.config_loading import HUB_KEYS
from nemo_automodel.recipes.checkpoints import KEYWORDS, WEIGHTS
from nemo_automodel.recipes.mistakes import naming
from nemo_automodel.recipes.parts import build
from nemo_automodel.recipes.targets import TARGET, Allowed, resolve_target

KEPT = ("backend", "moe", "attn_implementation", *HUB_KEYS)


def outline(recipe: dict[str, Any], allowed: Allowed) -> PreTrainedModel:
    """The model on the meta device: modules, shapes and plans, and no numbers.

    Raises:
        RecipeError: its config cannot be read, or no model can be made of it.
    """
    section = recipe["model"]
    source = section.get(WEIGHTS, section.get("config"))
    given = {key: value for key, value in section.items() if key in KEPT or key not in (*KEYWORDS, TARGET)}
    for name, value in [("config", source), *given.items()]:
        if isinstance(value, dict) and TARGET in value:
            given[name] = build(value, f"model.{name}", allowed)
    entry: Any = resolve_target(section, "model", allowed)
    with naming("model", section), torch.device("meta"), _quietly():
        return entry.__self__.from_config(given.pop("config", source), **given)


class _quietly:
    """Without what is said again when the model is loaded."""

    def __enter__(self) -> None:
        self.level = logging.get_verbosity()
        logging.set_verbosity_error()

    def __exit__(self, *error: Any) -> None:
        logging.set_verbosity(self.level)
