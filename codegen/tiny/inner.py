"""Fields inside fields (`config.attn_config.clip_qkv`, `config.rope_parameters.beta`) of tiny configs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from codegen.configs import ConfigClass
from codegen.tiny.mentions import Mention

Config = dict[str, Any]


def inner_numbers(
    config: ConfigClass, found: list[Mention], base: Config, values: Mapping[str, Sequence[float]], whole: Sequence[int]
) -> Config:
    """The outer fields, each a mapping, with a value for each number inside that the spec reads and the base lacks."""
    change: Config = {}
    taken: dict[tuple[str, bool], int] = {}
    for mention in found:
        if not mention.inner or mention.role not in values or not _number(config, mention):
            continue
        outer = change.setdefault(mention.field, dict(_outer(config, mention, base)))
        if mention.inner not in outer:
            integral = isinstance(config.value(f"{mention.field}.{mention.inner}"), int)
            turns = whole if integral else values[mention.role]
            turn = taken.setdefault((mention.role, integral), 0)
            outer[mention.inner] = turns[turn % len(turns)]
            taken[mention.role, integral] += 1
    return change


def inner_absent(config: ConfigClass, found: list[Mention], base: Config, optional: Sequence[str]) -> Config:
    """The same fields where those numbers inside are absent that may be: none by default, and optional."""
    change: Config = {}
    for mention in found:
        outer, path = base.get(mention.field, ()), f"{mention.field}.{mention.inner}"
        nested = mention.field in config.nested and mention.inner in outer
        if nested and mention.role in optional and config.value(path) is None:
            change.setdefault(mention.field, dict(base[mention.field]))[mention.inner] = None
    return change


def inner_dropouts(config: ConfigClass, base: Config, is_one: Callable[[str], bool], value: float) -> Config:
    """The same fields with this probability for each dropout inside; 1 where a config class takes whole numbers alone
    (MPT), so that everything is dropped."""
    change: Config = {}
    for outer in config.nested & config.fields.keys():
        defaults = config.fields[outer]
        values = {float: value, int: 1}
        found = {name: values[type(one)] for name, one in defaults.items() if is_one(name) and type(one) in values}
        if found:
            change[outer] = {**base.get(outer, {}), **found}
    return change


def _number(config: ConfigClass, mention: Mention) -> bool:
    default = config.value(f"{mention.field}.{mention.inner}")
    return default is None or (isinstance(default, int | float) and not isinstance(default, bool))


def _outer(config: ConfigClass, mention: Mention, base: Config) -> Mapping[str, Any]:
    """What stands in the base; a config of its own needs only what differs, an open mapping is given whole."""
    given = base.get(mention.field)
    if given is not None:
        return given
    return {} if mention.field in config.nested else config.fields.get(mention.field) or {}
