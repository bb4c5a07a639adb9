"""A tiny checkpoint of a model type, with random weights: what a draft is made from where none is at hand."""

import json
from collections.abc import Mapping
from pathlib import Path as File
from typing import Any, cast

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from codegen.errors import CodegenError
from nemo_automodel.components.models.common.releases import VERSION
from nemo_automodel.parity.infer.budget import Budget
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.start import start
from nemo_automodel.parity.infer.variants import TOKENS

LARGE, SMALL, LAYERS = 32, 16, 4  # a number beyond this becomes that one
SECONDS = 30


def is_type(name: str) -> bool:
    """Whether the installed transformers has a model type of this name."""
    return name in CONFIG_MAPPING


def write_sample(model_type: str, root: File, folder: File) -> None:
    """Writes config.json and the tensors as transformers' class saves them.

    Raises:
        CodegenError: transformers has no class of the type, or it can be run on no small config.
    """
    config = CONFIG_MAPPING[model_type]()
    mappings = (MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)
    reference = next((found for one in mappings if (found := one.get(type(config), None))), None)
    if reference is None:
        what = "no causal language model of this type, and none that takes images"
        raise CodegenError(f"{model_type}: transformers {VERSION} has {what}")
    lent = reference.config_class is not type(config)  # checkpoints name a class after their own type all the same
    config.architectures = [
        f"{type(config).__name__.removesuffix('Config')}ForCausalLM" if lent else reference.__name__
    ]
    (folder / "config.json").write_text(config.to_json_string(use_diff=False))
    begun = start(folder, root, None)
    drafted = begun.candidate
    published = json.loads((folder / "config.json").read_text())
    cases = Cases(begun.subject, shrunk(published), Budget(SECONDS))
    values = (drafted.with_({"name": begun.draft.name}) if drafted.problems else drafted).configs()
    if not cases.add("base", values["base"]) or cases.base is None:
        raise CodegenError(f"{model_type}: runs on no small config: {'; '.join(cases.refused[:1])}; name a checkpoint")
    (folder / "config.json").unlink()
    cases.base.reference.save(folder)


def shrunk(values: Mapping[str, Any]) -> dict[str, Any]:
    """A published config with small numbers, and few layers."""
    layers = values.get("num_hidden_layers")
    made = {name: _small(name, value, layers) for name, value in values.items()}
    return {**made, "num_hidden_layers": LAYERS} if isinstance(layers, int) else made


def _small(name: str, value: Any, layers: Any) -> Any:
    if isinstance(value, list):
        listed = cast("list[Any]", value)
        return listed[:LAYERS] if len(listed) == layers else listed
    if isinstance(value, dict) and not name.startswith("rope"):
        return shrunk(cast("dict[str, Any]", value))
    if type(value) is int and value > LARGE and not name.endswith(TOKENS):
        return SMALL
    return value
