"""Vision towers, and projectors that are no maps: transformers' own classes, with the attention of their config."""

import sys

from torch import nn
from transformers import AutoModel, PreTrainedModel

SUPPORTS = {"sdpa": "_supports_sdpa", "flex": "_supports_flex_attn", "flash": "_supports_flash_attn"}


def build_tower(config, of=None, **fields):
    """The tower of a sub-config: AutoModel's class for it, or `of`; eager where it cannot do what the text does. Where
    that is another family's class, with `fields` and what has equal names in a config of its own."""
    kind = AutoModel._model_mapping.get(type(config), None) if of is None else of
    asked = config._attn_implementation or ""
    if any(name in asked and not getattr(kind, flag, True) for name, flag in SUPPORTS.items()):
        config._attn_implementation = "eager"
    if of is None:
        return AutoModel.from_config(config)
    is_own = not fields and (
        isinstance(config, of.config_class) or type(config) in of.config_class.sub_configs.values()
    )  # a tower's class may name the config of the whole (GOT-OCR2's at 5.17)
    return of._from_config(config if is_own else own_config(of.config_class, config, **fields))


def own_config(config_class, config, **fields):
    """A config for a tower of another family: `fields`, and by equal names what the given config says.

    Raises ValueError for a field that the tower's config class does not have.
    """
    known = config_class().to_dict()
    if unknown := sorted(fields.keys() - known.keys()):
        raise ValueError(f"{config_class.__name__} has no {', '.join(unknown)}")
    given = {name: value for name, value in config.to_dict().items() if name in known and value is not None}
    given = {name: value for name, value in given.items() if name not in ("model_type", "architectures")}
    own = config_class(**{**given, **fields})
    own._attn_implementation = config._attn_implementation
    return own


def family_of(module, config):
    """A model, empty but for its config, that knows how the modules of a family of transformers start; of the class
    for `config` if the family has several. None for a module of another origin."""
    place = type(module).__module__
    if not place.startswith("transformers.models.") or isinstance(module, PreTrainedModel):
        return None
    known = [one for one in vars(sys.modules[place]).values() if isinstance(one, type)]
    families = [one for one in known if PreTrainedModel in one.__bases__]
    family = next((one for one in families if one.config_class is type(config)), next(iter(families), None))
    if family is None:
        return None
    model = family.__new__(family)
    nn.Module.__init__(model)  # its own asks for an attention that it may not have
    model.config = config
    return model
