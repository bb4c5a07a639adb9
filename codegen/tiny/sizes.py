"""Sizes that mixers have on tiny configs, in the fields that hold them."""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.configs import ConfigClass
from codegen.language.keys import Section, keys
from codegen.language.loaded import LoadedSpec
from codegen.language.values import Expression, expression
from codegen.plan.mixers.asked import TinySizes
from codegen.plan.mixers.kinds import is_mixer, kind, mixer, sections
from codegen.tiny.mentions import fields_of, inner_of

Config = dict[str, Any]

CHOSEN_BY_LAYER = [3, 1, 2, 3]
SMALL, FEW, MORE = 16, 2, 3  # a width's factor with a small default counts experts


def has_experts(spec: LoadedSpec) -> bool:
    """Whether some layer of some variant is a mixture of experts."""
    return any(kind(flat, "mlp") == "moe" for flat in spec.flat.values() if is_mixer(flat, "mlp"))


def mixer_sizes(spec: LoadedSpec, config: ConfigClass, *, apart: bool = False) -> Config:
    """What mixers want in the fields that hold their sizes; `apart`: in a config beside the one of all others."""
    sizes: Config = {}
    for found in _sizes(spec):
        for section, values in found.apart if apart else found.of:
            _fill(sizes, section, values, config)
    return sizes


def turned_width(spec: LoadedSpec) -> int | None:
    """How wide what turns is, where that is no share of a head."""
    return next((found.turned for found in _sizes(spec) if found.turned is not None), None)


def same_heads(spec: LoadedSpec, config: ConfigClass, base: Config) -> Config:
    """Fields that such a mixer does not read, but its references do: as many key heads as query heads, of the part that
    turns, all of it (only scaled tables of transformers know a share)."""
    turned = turned_width(spec)
    if turned is None:
        return {}
    heads = base[config.field_name("num_attention_heads")]
    values = {config.field_name("num_key_value_heads"): heads, config.field_name("head_dim"): turned}
    rope = base.get("rope_parameters", {})
    if "partial_rotary_factor" in rope:
        values["rope_parameters"] = {**rope, "partial_rotary_factor": 1.0}
    return {name: value for name, value in values.items() if name in config.fields and name not in config.derived}


def _sizes(spec: LoadedSpec) -> Iterator[TinySizes]:
    for flat in spec.flat.values():
        yield from (mixer(section).sizes(section) for _, section in sections(flat))


def _fill(sizes: Config, section: Section | None, values: Mapping[str, Any], config: ConfigClass) -> None:
    """A size for every field that one of these keys of a section reads, unless it has one."""
    for name, value in values.items() if section is not None else ():
        found = _expression(section, name, config)
        for path in _paths(found) if found is not None else ():
            outer, _, inner = path.partition(".")
            default = config.value(path)
            if not _fits(value, default):
                continue
            if name == "width" and isinstance(default, int) and default < SMALL:
                size = MORE if default == FEW else FEW
            else:
                size = CHOSEN_BY_LAYER if found is not None and "per_layer" in found.text else value
            if inner:
                sizes.setdefault(outer, {}).setdefault(inner, size)
            else:
                sizes.setdefault(config.field_name(outer), size)


def _fits(value: object, default: object) -> bool:
    """Whether a field may hold a size: no mapping, word or flag, not one of the numbers that a list is made of, and no
    number of something, which a weight may read too."""
    if isinstance(default, dict | str | bool):
        return False
    if isinstance(value, float) and isinstance(default, int) and default > 1:
        return False
    return isinstance(value, list) == isinstance(default, list)


def _expression(section: Section | None, name: str, config: ConfigClass) -> Expression | None:
    """What is written, or the first default that the class can answer."""
    written = getattr(section, name)
    if written is not None:
        return written
    defaults = [expression(text) for text in keys(type(section))[name].chain] if section is not None else []
    return next((one for one in defaults if all(config.has(field) for field in fields_of(one.tree))), None)


def _paths(found: Expression) -> list[str]:
    inner = inner_of(found.tree)
    return [f"{name}.{rest}" if rest else name for name in fields_of(found.tree) for rest in inner.get(name, [""])]
