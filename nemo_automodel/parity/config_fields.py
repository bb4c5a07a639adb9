"""Writes `codegen/config_fields.json`: what the config classes of the installed transformers hold, and beside it
`codegen/vision_fields.json`: the same of classes of images and text.

The generator must know which fields a config class has without importing transformers. After an upgrade:

    python -m nemo_automodel.parity.config_fields

The table holds the rows of the newest release and, beside a row, how it differs in the oldest (`config_rows.py`). Run
with an oldest release that is another than before, the same command renews those differences.
"""

import dataclasses
import inspect
import json
import re
from collections.abc import Container, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from nemo_automodel.components.models.common.releases import VERSION, release
from nemo_automodel.parity.class_facts import PARTS, class_facts
from nemo_automodel.parity.config_rows import Table

TABLE = Path(__file__).parents[2] / "codegen" / "config_fields.json"
VISION_TABLE = TABLE.with_name("vision_fields.json")
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


@cache
def causal_types() -> dict[str, type[PreTrainedConfig]]:
    """Model type -> config class, for every type of the auto mapping: of a larger model, the class of its text."""
    found: dict[str, type[PreTrainedConfig]] = {}
    for model_type, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        if model_type not in CONFIG_MAPPING or not isinstance(name, str):
            continue
        own, model = CONFIG_MAPPING[model_type], getattr(transformers, name)
        is_text_of_own = model.config_class is not own and _package(model.config_class) == _package(own)
        found[model_type] = model.config_class if is_text_of_own else own
    return found


def _package(config_class: type) -> str:
    return config_class.__module__.rpartition(".")[0]


@cache
def lenders() -> dict[str, str]:
    """Config class name -> the model of another family that transformers runs its checkpoints with."""
    taken = architectures()
    return {
        config_class.__name__: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
        for model_type, config_class in causal_types().items()
        if MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type] not in taken.get(config_class.__name__, ())
    }


def config_classes() -> Iterator[type[PreTrainedConfig]]:
    """Every config class of a causal language model, and of a text decoder inside a larger model."""
    causal = {config_class.__name__ for config_class in causal_types().values()} | architectures().keys()
    seen = dict.fromkeys(causal_types().values())
    seen |= {
        config_class: None
        for model_type, config_class in ((name, CONFIG_MAPPING[name]) for name in CONFIG_MAPPING)
        if config_class.__name__ in causal or _TEXT.search(model_type)
    }
    yield from seen


def describe(
    config_class: type[PreTrainedConfig], models: tuple[str, ...] = (), lender: str | None = None, trials: bool = True
) -> dict[str, Any] | None:
    """One row of the table, or None where the class cannot be built without arguments.

    models: the causal models that take it. lender: the one of another family that runs its checkpoints.
    trials: whether fields are found that the class computes whatever it is given, which takes most of the time.
    """
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
        "lender": lender,
        "attribute_map": dict(config_class.attribute_map),
        "derived": sorted((derived.keys() | (_computed(config_class, own) if trials else set())) & fields.keys()),
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
            fields[name] = json.loads(json.dumps(value, sort_keys=True))  # classes make some of their mappings of sets
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


def build() -> dict[str, dict[str, Any]]:
    """The rows of the installed transformers: class name -> row."""
    causal, lent = architectures(), lenders()
    rows = {c.__name__: describe(c, causal.get(c.__name__, ()), lent.get(c.__name__)) for c in config_classes()}
    return {name: row for name, row in sorted(rows.items()) if row is not None}


def image_text_classes() -> dict[type[PreTrainedConfig], str]:
    """Every config class of images and text, with the model that takes it."""
    found: dict[type[PreTrainedConfig], str] = {}
    for model_type, name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.items():
        if model_type in CONFIG_MAPPING and isinstance(name, str):
            config_class = getattr(transformers, name).config_class
            found |= {} if config_class is None else {config_class: name}
    return found


def build_image_text() -> dict[str, dict[str, Any]]:
    """The rows of classes of images and text that hold a text and a tower: class name -> row, with the model types and
    classes of both, whether they may be others, and what the model is made of."""
    rows: dict[str, dict[str, Any]] = {}
    for config_class, model in image_text_classes().items():
        row = describe(config_class, (model,), trials=False)
        if row is not None and set(PARTS) <= set(row.get("nested", ())):
            inner = {name: getattr(config_class(), name) for name in PARTS}
            row["parts"] = {
                name: [part.model_type, type(part).__name__, config_class.sub_configs.get(name) is AutoConfig]
                for name, part in inner.items()
            }
            facts = class_facts(getattr(transformers, model), config_class())
            rows[config_class.__name__] = row | ({"model": facts} if facts else {})
    return dict(sorted(rows.items()))


def _with_refused(rows: dict[str, dict[str, Any]], known: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows, with what was known of classes that are still there and cannot be built any more."""
    refused = {c.__name__ for c in config_classes()} - rows.keys()
    return rows | {name: known[name] for name in sorted(refused & known.keys())}


def type_names(rows: Container[str]) -> dict[str, str]:
    """Model types whose row is that of a class with another type."""
    return {
        model_type: config_class.__name__
        for model_type, config_class in sorted(causal_types().items())
        if config_class.model_type != model_type and config_class.__name__ in rows
    }


def refresh(path: Path = TABLE, installed: str = VERSION) -> str:
    """Renews the table at `path` from the installed transformers; returns what it did.

    Raises ValueError for a release between the oldest and the newest of the table: it has no part in it.
    """
    old, images = Table.read(path), path.name == VISION_TABLE.name
    rows_now = build_image_text if images else build
    if release(installed) >= release(old.newest):
        rows = rows_now() if images else _with_refused(rows_now(), old.rows)
        table = Table(installed, old.oldest, {} if images else type_names(rows), rows, old.oldest_rows())
    elif release(installed) <= release(old.oldest) or old.oldest == old.newest:
        table = Table(old.newest, installed, old.types, old.rows, rows_now())
    else:
        raise ValueError(
            f"transformers {installed} lies between {old.oldest} and {old.newest}: run it with one of them"
        )
    path.write_text(table.text(), encoding="utf-8")
    return f"wrote {path.name}: transformers {table.oldest} to {table.newest}, {len(table.rows)} config classes"


if __name__ == "__main__":
    print(refresh())
    print(refresh(VISION_TABLE))
