"""Writes `codegen/config_fields.json`: what the config classes of the installed transformers hold.

The generator must know which fields a config class has without importing transformers. Run after an upgrade:

    python -m nemo_automodel.parity.config_fields
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

TABLE = Path(__file__).parents[2] / "codegen" / "config_fields.json"
# Base-class fields that say nothing about an architecture.
_COMMON = frozenset(vars(PreTrainedConfig())) - {"tie_word_embeddings"}
_TEXT = re.compile(r"_text$")


@cache
def architectures() -> dict[str, tuple[str, ...]]:
    """Config class name -> the causal language models that take it, those of the auto mapping first."""
    mapped = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() if isinstance(name, str)]
    others = sorted(name for name in dir(transformers) if name.endswith("ForCausalLM") and not name.startswith("Auto"))
    found: dict[str, list[str]] = {}
    for name in (*mapped, *others):
        config_class = getattr(transformers, name).config_class
        if config_class is not None and name not in found.setdefault(config_class.__name__, []):
            found[config_class.__name__].append(name)
    return {config: tuple(models) for config, models in found.items()}


def config_classes() -> Iterator[type[PreTrainedConfig]]:
    """Every config class of a causal language model, and of a text decoder inside a larger model."""
    causal = architectures()
    for model_type in CONFIG_MAPPING:
        config_class = CONFIG_MAPPING[model_type]
        if config_class.__name__ in causal or _TEXT.search(model_type):
            yield config_class


def describe(config_class: type[PreTrainedConfig], models: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """One row of the table, or None where the class cannot be built without arguments."""
    try:
        config = config_class()
    except Exception as error:  # a composite that needs its parts: it is no text decoder
        print(f"{config_class.__name__} is left out: {type(error).__name__}")
        return None
    own = {name: value for name, value in vars(config).items() if name not in _COMMON}
    derived = {name: getattr(config, name) for name in _properties(config_class) if name not in own}
    fields, nested = _json_values({**own, **derived})
    for name in nested:
        if name in fields:
            fields[name] |= dict.fromkeys(_read_undeclared(config_class, name, getattr(config, name)))
    row: dict[str, Any] = {"model_type": config_class.model_type, "architectures": list(models), "fields": fields}
    optional = {
        "attribute_map": dict(config_class.attribute_map),
        "derived": sorted((derived.keys() | _computed(config_class, own)) & fields.keys()),
        "nested": nested,
        "published": sorted(_read_with_default(config_class) - fields.keys() - config_class.attribute_map.keys()),
    }
    return row | {name: value for name, value in optional.items() if value}


def _properties(config_class: type[PreTrainedConfig]) -> list[str]:
    base = set(dir(PreTrainedConfig))
    found = inspect.getmembers(config_class, lambda member: isinstance(member, property))
    return [name for name, _ in found if name not in base and not name.startswith("_")]


def _computed(config_class: type[PreTrainedConfig], own: dict[str, Any]) -> set[str]:
    """Whole numbers that the class overwrites whatever it is given, or does not declare and takes from a flag."""
    numbers = {name: value for name, value in own.items() if type(value) is int and value}
    declared = {field.name for field in dataclasses.fields(config_class)}
    overwritten = {name for name in numbers if _given(config_class, name, own, numbers[name] + 1) == numbers[name]}
    flags = [name for name, value in own.items() if isinstance(value, bool) and name in declared]
    return overwritten | {
        name
        for name in numbers.keys() - declared
        if any(_given(config_class, flag, own, not own[flag], name) != numbers[name] for flag in flags)
    }


def _given(config_class: type[PreTrainedConfig], name: str, own: dict[str, Any], value: Any, read: str = "") -> Any:
    """What `read` (or the field itself) holds in a config with a value; what one would expect, where it is refused."""
    try:
        return vars(config_class(**{name: value}))[read or name]
    except Exception:
        return own[read] if read else value


def _json_values(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values that JSON can hold, configs inside configs as mappings; and the names of those."""
    fields: dict[str, Any] = {}
    nested: list[str] = []
    for name, value in values.items():
        if isinstance(value, PreTrainedConfig):
            nested.append(name)
            value, inner = _json_values({k: v for k, v in vars(value).items() if k not in _COMMON})
            nested += [f"{name}.{part}" for part in inner]
        try:
            fields[name] = json.loads(json.dumps(value))
        except TypeError:
            continue
    return {name: value for name, value in fields.items() if not name.startswith("base_model_")}, nested


def _read_with_default(config_class: type[PreTrainedConfig]) -> set[str]:
    """Fields that the modeling file reads although the class may not declare them: published files carry them."""
    pattern = re.compile(r"getattr\(\s*(?:self\.)?config,\s*\"(\w+)\"\s*,")
    return {name for name in pattern.findall(_modeling(config_class)) if name not in _COMMON}


def _read_undeclared(config_class: type[PreTrainedConfig], name: str, inner: PreTrainedConfig) -> list[str]:
    """Fields of a config inside that the modeling file reads, default or not, and its class lacks: files carry them."""
    found = re.findall(rf"\b{name}\.([a-z]\w*)", _modeling(config_class))
    return sorted({part for part in found if not hasattr(inner, part)})


def _modeling(config_class: type[PreTrainedConfig]) -> str:
    """The sources beside a config class that compute."""
    folder = Path(inspect.getfile(config_class)).parent
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("modeling_*.py")))


def table_text(rows: dict[str, dict[str, Any]]) -> str:
    """The file's text: one class a line, so that the generator parses only what it needs."""
    lines = (f"{json.dumps(name)}:{json.dumps(row, separators=(',', ':'))}" for name, row in sorted(rows.items()))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def build() -> dict[str, dict[str, Any]]:
    """The whole table: class name -> row."""
    causal = architectures()
    rows = {c.__name__: describe(c, causal.get(c.__name__, ())) for c in config_classes()}
    return {name: row for name, row in rows.items() if row is not None}


if __name__ == "__main__":
    TABLE.write_text(table_text(build()), encoding="utf-8")
    print(f"wrote {TABLE}")
