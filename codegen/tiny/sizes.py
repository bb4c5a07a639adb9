"""Sizes of tiny mixtures of experts and of latent attention: all different, and such that every limit bites.

Grouped products want rows of whole 16 bytes, so that the widths of experts are multiples of 8.
"""

from typing import Any

from codegen.configs import ConfigClass
from codegen.language.attention import Mla
from codegen.language.keys import Section, keys
from codegen.language.loaded import LoadedSpec
from codegen.language.mlp import Experts, Moe, Router
from codegen.language.values import Expression, expression
from codegen.plan.mixers.moe import AUX_LOSS
from codegen.tiny.mentions import fields_of, inner_of

Config = dict[str, Any]

EXPERTS: Config = {"count": 8, "top_k": 3, "width": 40}
GROUPS: Config = {"count": 4, "keep": 2}
SHARED: Config = {"width": 56}
LATENT: Config = {"q_rank": 22, "kv_rank": 18, "nope": 12, "rope": 4, "v": 14}
CHOSEN_BY_LAYER = [3, 1, 2, 3]
SMALL, FEW, MORE = 16, 2, 3  # a width's factor with a small default counts experts


def has_experts(spec: LoadedSpec) -> bool:
    """Whether some layer of some variant is a mixture of experts."""
    return any(isinstance(flat.mlp, Moe) for flat in spec.flat.values())


def expert_sizes(spec: LoadedSpec, config: ConfigClass) -> Config:
    """Numbers and widths of experts, by the fields that hold them; {} for a spec without any."""
    sizes: Config = {}
    for moe in (flat.mlp for flat in spec.flat.values() if isinstance(flat.mlp, Moe)):
        router = moe.router or Router()
        sections = ((moe.experts or Experts(), EXPERTS), (router.groups, GROUPS), (moe.shared, SHARED))
        for section, values in sections:
            _fill(sizes, section, values, config)
    return sizes | {field: 0.37 for field in AUX_LOSS if sizes and field in config.fields}


def latent_sizes(spec: LoadedSpec, config: ConfigClass) -> Config:
    """Ranks and widths of latent attention, which has no key and value heads of its own; {} for other specs."""
    sizes: Config = {}
    for latent in (flat.attention for flat in spec.flat.values() if isinstance(flat.attention, Mla)):
        _fill(sizes, latent, LATENT, config)
    return sizes


def same_heads(spec: LoadedSpec, config: ConfigClass, base: Config) -> Config:
    """Fields that latent attention does not read, but its references do: as many key heads as query heads, of the part
    that turns, all of it (only scaled tables of transformers know a share)."""
    if not latent_sizes(spec, config):
        return {}
    heads = base[config.field_name("num_attention_heads")]
    values = {config.field_name("num_key_value_heads"): heads, config.field_name("head_dim"): LATENT["rope"]}
    rope = base.get("rope_parameters", {})
    if "partial_rotary_factor" in rope:
        values["rope_parameters"] = {**rope, "partial_rotary_factor": 1.0}
    return {name: value for name, value in values.items() if name in config.fields and name not in config.derived}


def _fill(sizes: Config, section: Section | None, values: Config, config: ConfigClass) -> None:
    """A size for every field that one of these keys of a section reads, unless it has one."""
    for name, value in values.items() if section is not None else ():
        found = _expression(section, name, config)
        for path in _paths(found) if found is not None else ():
            outer, _, inner = path.partition(".")
            default = config.value(path)
            if name == "width" and isinstance(default, int) and default < SMALL:
                size = MORE if default == FEW else FEW
            else:
                size = CHOSEN_BY_LAYER if found is not None and "per_layer" in found.text else value
            if inner:
                sizes.setdefault(outer, {}).setdefault(inner, size)
            else:
                sizes.setdefault(config.field_name(outer), size)


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
