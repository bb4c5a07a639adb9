"""Finds the generated class of an architecture, a model type or a config in a registry; imports it when asked for."""

from importlib import import_module

from transformers import AutoConfig

from nemo_automodel._transformers.registries import mapping


def resolve(architecture):
    """The class of a registered architecture, or None. A registered module that fails to import raises."""
    return _imported("MODEL_ARCH_MAPPING", architecture)


def resolve_type(model_type):
    """The class of a registered model type, or None; checkpoints of several types may name one architecture."""
    return _imported("MODEL_TYPE_MAPPING", model_type)


def resolve_over(architecture, text_type):
    """The vision-language class of an architecture over a type of text, or None."""
    return _imported("MODEL_TEXT_MAPPING", f"{architecture}/{text_type}")


def takes_images(architecture):
    """Whether it is one of vision-language models."""
    return any(name.startswith(f"{architecture}/") for name in mapping("MODEL_TEXT_MAPPING"))


def _imported(kind, name):
    known = mapping(kind)
    if name not in known:
        return None
    module, class_name = known[name][:2]
    return getattr(import_module(module), class_name)


def resolve_beside(config):
    """The class of the package that a config class of ours comes from, or None; of several the one that it names."""
    package = type(config).__module__.rpartition(".")[0]
    beside = [
        name for name, (module, *_) in mapping("MODEL_ARCH_MAPPING").items() if module.rpartition(".")[0] == package
    ]
    named = [name for name in beside if name in (config.architectures or ())]
    return resolve((named or beside)[0]) if beside else None


def register_config(model_type):
    """Makes transformers' AutoConfig know our config class of a model type, if there is one."""
    known = mapping("_CUSTOM_CONFIG_REGISTRATIONS")
    if model_type in known:
        module, name = known[model_type]
        AutoConfig.register(model_type, getattr(import_module(module), name), exist_ok=True)
