"""What is compared: a generated class, its config class, and the class that it is judged by."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import transformers
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from codegen.language.frame import REFERENCE_CURE, is_reference
from nemo_automodel.components.models.common.vision.causal import ImageTextLM
from nemo_automodel.parity.newer import asked_of_older, refuse_newer


@dataclass(frozen=True)
class Subject:
    """One generated architecture beside its reference, which computes attention as `attention` names it: eager, mostly
    (transformers' sdpa ignores soft caps), but in some classes eager attention is not what the model is. Where
    `positions` is "counted" it takes places in the batch for positions, whatever it is given; where it is "alone", it
    is asked about each text of a padded batch alone, because padding changes what it makes of them. Where `disk` is
    "read", it reads published names and writes others."""

    model_class: type[PreTrainedModel]
    config_class: type[PreTrainedConfig]
    reference_class: type[nn.Module]
    attention: str = "eager"
    positions: str = "given"
    disk: str = "written"

    @property
    def architecture(self) -> str:
        return self.model_class.__name__

    @property
    def takes_images(self) -> bool:
        return issubclass(self.model_class, ImageTextLM)

    def config(self, values: Mapping[str, Any]) -> PreTrainedConfig:
        """A config from keyword arguments, which stay untouched (config classes write into nested ones)."""
        with asked_of_older(self.config_class):
            config = self.config_class(**copy.deepcopy(dict(values)))
        config.architectures = [self.architecture]
        return config


def subject(
    model: str,
    config: str,
    reference: str | None = None,
    attention: str = "eager",
    positions: str = "given",
    disk: str = "written",
) -> Subject:
    """From dotted names `package.module:Name`; without `reference`, transformers' class for the config, or else its
    class of the model's name.

    Raises LookupError where transformers has no causal language model for the config class (NewerFamily: not yet), or
    `reference` is none that a project may name.
    """
    refuse_newer(config)
    model_class, config_class = named(model), named(config)
    reference_class = (
        named_reference(reference)
        if reference
        else transformers_class(config_class, model_class.__name__, issubclass(model_class, ImageTextLM))
    )
    return Subject(model_class, config_class, reference_class, attention, positions, disk)


def named(path: str) -> Any:
    """The object `package.module:Name`; a LookupError where the module has none."""
    module, _, name = path.partition(":")
    try:
        return getattr(import_module(module), name)
    except AttributeError as error:
        raise LookupError(f"{path}: {error}") from error


def named_reference(path: str) -> type[nn.Module]:
    """A class of transformers or under tests/reference. Nothing else is imported, whatever a spec says."""
    if not is_reference(path):
        raise LookupError(f"{path!r} is no reference; {REFERENCE_CURE}")
    found = named(path)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise LookupError(f"{path!r} is no module of torch")
    return found


def transformers_class(config_class: type[PreTrainedConfig], name: str, takes_images: bool = False) -> type[nn.Module]:
    """transformers' own causal language model for a config class, or its model that takes images beside text, or the
    class of that name where the config is only its part."""
    mapping = (AutoModelForImageTextToText if takes_images else AutoModelForCausalLM)._model_mapping
    if config_class in mapping:
        return mapping[config_class]
    found = getattr(transformers, name, None)
    if found is None or found.config_class is not config_class:
        raise LookupError(
            f"transformers has no {'image-text' if takes_images else 'causal language'} model for "
            f"{config_class.__name__}; write one under tests/reference "
            "and name it in the spec: `tests: {reference: tests.reference.<module>:<Class>}`"
        )
    return found
