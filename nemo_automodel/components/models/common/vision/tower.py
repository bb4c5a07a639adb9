"""Vision towers: transformers' own classes, built with the attention that their config names."""

from transformers import AutoModel


def build_tower(config, of=None):
    """The tower of a sub-config: AutoModel's class for it, or `of`."""
    return AutoModel.from_config(config) if of is None else of._from_config(config)


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
