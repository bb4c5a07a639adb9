"""Which module implements an architecture, and which config class a model type that transformers lacks.

Both literals are edited in place by `codegen apply`; entries of other origin stay as they are.
"""

from collections import OrderedDict
from importlib import import_module

MODEL_ARCH_MAPPING = OrderedDict([])

_CUSTOM_CONFIG_REGISTRATIONS = {}


def resolve(architecture):
    """The class of a registered architecture, or None. A registered module that fails to import raises."""
    if architecture not in MODEL_ARCH_MAPPING:
        return None
    module, name = MODEL_ARCH_MAPPING[architecture][:2]
    return getattr(import_module(module), name)
