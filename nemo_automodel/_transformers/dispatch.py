"""Which generated class a config is built or loaded by, and which config that class takes."""

from copy import deepcopy

import torch
import transformers
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging

from nemo_automodel._transformers.lookup import (
    resolve,
    resolve_beside,
    resolve_over,
    resolve_type,
    takes_images,
)

logger = logging.get_logger(__name__)


def choose(config, usual_names, text=True):
    """(class, config for it), or (None, config) where no generated class is registered.

    usual_names: transformers' {model type: class name} of the entry point. text: it is that of language models, for
    which the text half of an outer class's config, a vision-language model's say, serves too; else it is that of models
    that take images beside text.
    """
    if not text:
        return _class_over(config, usual_names), config
    inner = config.get_text_config()
    if own := _own_half(config, inner.model_type):
        return own, text_half(config)
    target = _class_of(config, usual_names)
    if target is None and inner is not config:
        target = _class_of(inner, usual_names)
        return (target, text_half(config)) if target else (None, config)
    if target is None or isinstance(config, target.config_class) or not isinstance(inner, target.config_class):
        return target, config
    return target, text_half(config)


def _class_over(config, usual_names):
    """The model of images and text, by the text that it is over too: a config class of ours, else the architecture that
    transformers has for the model type, else those that the config names."""
    beside = resolve_beside(config)
    usual, text = usual_names.get(config.model_type), config.get_text_config().model_type
    own = [name for name in _named(config) if name not in usual_names.values()]
    names = [*own, usual] if usual else _named(config)
    names = [beside.__name__] if beside else names
    found = next((target for name in names if (target := resolve_over(name, text))), None)
    if found is None and any(map(takes_images, names)):
        logger.warning(f"{' or '.join(names)} is generated over other texts than {text!r}")
    return found if found is not None and isinstance(config, found.config_class) else None


def _own_half(config, text):
    """The class of the text half, where a generated model of images and text has one of its own."""
    usual = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(config.model_type)
    over = next((target for name in (*_named(config), usual) if (target := resolve_over(name, text))), None)
    return over and over.text_class


def _named(config):
    """The architectures that a config names. Raises ValueError where they are no list of names."""
    named = config.architectures or []
    if not isinstance(named, (list, tuple)) or not all(isinstance(name, str) for name in named):
        raise ValueError(f"{config.name_or_path}: config.json: architectures is {named!r}; it must be a list of names")
    return named


def _class_of(config, usual_names):
    """By a config class of ours, else by an architecture that is registered here alone, else by the model type as
    transformers does, else by the architectures. What takes images is another entry point's."""
    if (target := resolve_beside(config)) and not takes_images(target.__name__):
        return target
    named, usual = [name for name in _named(config) if not takes_images(name)], usual_names.get(config.model_type)
    usual = None if takes_images(usual) else usual
    own = [name for name in named if name not in usual_names.values() and resolve(name)]
    by_type = resolve_type(config.model_type) or _lent(usual, config)
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
    """The text config of an outer one, with what an outer config says for the whole.

    Raises ValueError where the two say otherwise whether the embeddings are tied, and no class tells which counts.
    """
    text = deepcopy(config.get_text_config())
    logger.warning(f"{type(config).__name__}: its text half is taken, by {type(text).__name__}")
    text.tie_word_embeddings = _is_tied(config, text)
    text.dtype = text.dtype or config.dtype
    if isinstance(text.dtype, str):
        text.dtype = getattr(torch, text.dtype, text.dtype)
    if getattr(config, "quantization_config", None) is not None:
        text.quantization_config = config.quantization_config
    text.name_or_path = config.name_or_path
    if getattr(text, "use_bidirectional_attention", None):
        text.use_bidirectional_attention = False  # said of prompts with images: without them its tokens see the past
    return text


def _is_tied(config, text):
    """Whether the head of the text half is its token embedding. Where the two configs differ, one of them counts,
    which one depends on the class: so it is asked."""
    said = {bool(of.tie_word_embeddings) for of in (config, text) if hasattr(of, "tie_word_embeddings")}
    if len(said) < 2:
        return True in said
    whole = _whole_class(config)
    if whole is None:
        raise ValueError(
            f"{type(config).__name__} says tie_word_embeddings: {config.tie_word_embeddings}, its text half"
            f" {text.tie_word_embeddings}, and no class is known for {config.architectures or config.model_type}, which"
            " would tell what counts: make them alike in config.json"
        )
    with torch.device("meta"):
        model = whole._from_config(deepcopy(config))
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _whole_class(config):
    """The class with a head that a config is of: ours, or else that of transformers; None where there is none."""
    ours = _class_over(config, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    named = [getattr(transformers, name, None) for name in _named(config)]
    known = [ours, AutoModelForImageTextToText._model_mapping.get(type(config), None), *named]
    return next((kind for kind in known if _is_whole(kind, config)), None)


def _is_whole(kind, config):
    is_model = isinstance(kind, type) and issubclass(kind, PreTrainedModel)
    return is_model and isinstance(config, kind.config_class or ()) and kind.can_generate()
