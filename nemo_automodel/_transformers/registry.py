"""Which module implements an architecture, and which config class a model type that transformers lacks.

Both literals are edited in place by `codegen apply`; entries of other origin stay as they are.
"""

from collections import OrderedDict
from importlib import import_module

from transformers import AutoConfig

MODEL_ARCH_MAPPING = OrderedDict([])

_CUSTOM_CONFIG_REGISTRATIONS = {}


def resolve(architecture):
    """The class of a registered architecture, or None. A registered module that fails to import raises."""
    if architecture not in MODEL_ARCH_MAPPING:
        return None
    module, name = MODEL_ARCH_MAPPING[architecture][:2]
    return getattr(import_module(module), name)


def resolve_beside(config):
    """The first registered class of the package that a config class of ours comes from, or None."""
    package = type(config).__module__.rpartition(".")[0]
    for architecture, (module, *_) in MODEL_ARCH_MAPPING.items():
        if module.rpartition(".")[0] == package:
            return resolve(architecture)
    return None


def register_config(model_type):
    """Makes transformers' AutoConfig know our config class of a model type, if there is one."""
    if model_type in _CUSTOM_CONFIG_REGISTRATIONS:
        module, name = _CUSTOM_CONFIG_REGISTRATIONS[model_type]
        AutoConfig.register(model_type, getattr(import_module(module), name), exist_ok=True)
