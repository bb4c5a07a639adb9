"""Which generated class a config is built or loaded by, and which config that class takes."""

from copy import deepcopy

import torch
from transformers.utils import logging

from nemo_automodel._transformers.registry import resolve, resolve_beside, resolve_type

logger = logging.get_logger(__name__)


def choose(config, usual_names, text=True):
    """(class, config for it), or (None, config) where no generated class is registered.

    usual_names: transformers' {model type: class name} of the entry point. text: it is that of language models, for
    which the text half of an outer class's config, a vision-language model's say, serves too.
    """
    inner = config.get_text_config() if text else config
    target = _class_of(config, usual_names, text)
    if target is None and inner is not config:
        target = _class_of(inner, usual_names, text)
        return (target, text_half(config)) if target else (None, config)
    if target is None or isinstance(config, target.config_class) or not isinstance(inner, target.config_class):
        return target, config
    return target, text_half(config)


def _class_of(config, usual_names, text):
    """By a config class of ours, else by an architecture that is registered here alone, else by the model type as
    transformers does, else by the architectures."""
    if target := resolve_beside(config):
        return target
    named, usual = config.architectures or [], usual_names.get(config.model_type)
    if not isinstance(named, (list, tuple)) or not all(isinstance(name, str) for name in named):
        raise ValueError(f"{config.name_or_path}: config.json: architectures is {named!r}; it must be a list of names")
    own = [name for name in named if name not in usual_names.values() and resolve(name)]
    by_type = (text and resolve_type(config.model_type)) or _lent(usual, config)
    if own or (usual is None and not by_type):
        return next((target for name in [*own, *named] if (target := resolve(name))), None)
    others = [name for name in named if name in usual_names.values() or resolve(name)]
    if others and usual not in named and not (by_type and by_type.__name__ in named):
        logger.warning(
            f"config.json names architectures {named} and model_type {config.model_type!r}: the type decides, which is"
            f" that of {usual or by_type.__name__}; mend the one that is wrong"
        )
    return by_type or None


def _lent(name, config):
    """The generated class that transformers' mapping names, where the config is of its family: types whose checkpoints
    transformers converts for the model of another one are left to transformers."""
    target = resolve(name)
    return target if target is not None and isinstance(config, target.config_class) else None


def text_half(config):
    """The text config of an outer one, with what an outer config says for the whole."""
    text = deepcopy(config.get_text_config())
    logger.warning(f"{type(config).__name__}: its text half is taken, by {type(text).__name__}")
    text.tie_word_embeddings = bool(config.tie_word_embeddings or text.tie_word_embeddings)
    text.dtype = text.dtype or config.dtype
    if isinstance(text.dtype, str):
        text.dtype = getattr(torch, text.dtype, text.dtype)
    if getattr(config, "quantization_config", None) is not None:
        text.quantization_config = config.quantization_config
    text.name_or_path = config.name_or_path
    return text
