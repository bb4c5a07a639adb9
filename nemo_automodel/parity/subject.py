"""What is compared: a generated class, its config class, and the class that it is judged by."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class Subject:
    """One generated architecture beside its reference."""

    model_class: type[PreTrainedModel]
    config_class: type[PreTrainedConfig]
    reference_class: type[nn.Module]

    @property
    def architecture(self) -> str:
        return self.model_class.__name__

    def config(self, values: Mapping[str, Any]) -> PreTrainedConfig:
        """A config from keyword arguments, which stay untouched (config classes write into nested ones)."""
        config = self.config_class(**copy.deepcopy(dict(values)))
        config.architectures = [self.architecture]
        return config


def subject(model: str, config: str, reference: str | None = None) -> Subject:
    """From dotted names `package.module:Name`; without `reference`, transformers' class for the config.

    Raises LookupError where transformers has no causal language model for the config class.
    """
    config_class = named(config)
    reference_class = named(reference) if reference else transformers_class(config_class)
    return Subject(named(model), config_class, reference_class)


def named(path: str) -> Any:
    """The object `package.module:Name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def transformers_class(config_class: type[PreTrainedConfig]) -> type[nn.Module]:
    """transformers' own causal language model for a config class."""
    mapping = AutoModelForCausalLM._model_mapping
    if config_class not in mapping:
        raise LookupError(
            f"transformers has no causal language model for {config_class.__name__}; write one under tests/reference "
            "and name it in the spec: `tests: {reference: tests.reference.<module>:<Class>}`"
        )
    return mapping[config_class]
