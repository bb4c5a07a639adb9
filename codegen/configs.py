"""What config classes hold, without importing transformers: a committed table, one class a line, parsed on demand."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

TABLE = Path(__file__).with_name("config_fields.json")
ABSENT = object()


@dataclass(frozen=True, eq=False)
class ConfigClass:
    """A config class: `fields` are the values of a default instance, names that `attribute_map` renames resolve.

    `derived` are properties and what the class computes whatever it is given: readable, never written. `nested` are
    fields that hold a config of their own; other mappings (`rope_parameters`) are open. `published` are fields that no
    class declares but the reference reads where a config.json file carries them (`head_dim`).
    """

    name: str
    model_type: str
    architectures: tuple[str, ...]
    fields: Mapping[str, Any]
    attribute_map: Mapping[str, str] = field(default_factory=dict[str, str])
    derived: frozenset[str] = frozenset()
    nested: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()

    @classmethod
    def from_declaration(
        cls,
        fields: Mapping[str, Any],
        name: str = "",
        model_type: str = "",
        attribute_map: Mapping[str, str] | None = None,
    ) -> "ConfigClass":
        """The class that a spec declares itself; what the library gives every config is added."""
        common = {"tie_word_embeddings": False, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
        held = {**common, **fields}
        if held.get("rope_parameters", ABSENT) is None:  # the library puts the older fields, or its default, in place
            held["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "default"}
        return cls(name, model_type, (), held, attribute_map or {})

    def has(self, path: str) -> bool:
        """Whether `config.<path>` can be read; any key of an open mapping can."""
        return self._find(path) is not ABSENT

    def value(self, path: str) -> Any:
        """The value on a default instance; None for keys of an open mapping that it lacks. KeyError if not `has`."""
        found = self._find(path)
        if found is ABSENT:
            raise KeyError(path)
        return found

    def names(self) -> tuple[str, ...]:
        """Every name under which a field can be read, for suggestions."""
        return (*self.fields, *self.attribute_map)

    def field_name(self, name: str) -> str:
        """The name under which the class stores a field: `n_embd` for gpt2's `hidden_size`."""
        return self.attribute_map.get(name, name)

    def _find(self, path: str) -> Any:
        first, *rest = path.split(".")
        first = self.field_name(first)
        if first not in self.fields:
            return ABSENT
        value: Any = self.fields[first]
        where, closed = first, first in self.nested
        for part in rest:
            if not isinstance(value, dict):
                return None if value is None and not closed else ABSENT
            if part not in value:
                return ABSENT if closed else None
            value = cast("dict[str, Any]", value)[part]
            where = f"{where}.{part}"
            closed = where in self.nested
        return value


class ConfigTable:
    """The config classes of the transformers version that the table was written with."""

    def __init__(self, path: Path = TABLE) -> None:
        self._path = path
        self._parsed: dict[str, ConfigClass] = {}

    @cached_property
    def _text(self) -> str:
        return self._path.read_text(encoding="utf-8")

    def get(self, class_name: str) -> ConfigClass | None:
        """The class of that name, or None where the table has none."""
        if class_name not in self._parsed:
            start = self._text.find(f'\n"{class_name}":')
            if start < 0:
                return None
            line = self._text[start + 1 : self._text.index("\n", start + 1)]
            self._parsed[class_name] = _config_class(class_name, json.loads(line[len(class_name) + 3 :].rstrip(",")))
        return self._parsed[class_name]

    def for_model_type(self, model_type: str) -> ConfigClass | None:
        """The class whose `model_type` this is, or None."""
        at = self._text.find(f':{{"model_type":{json.dumps(model_type)},')
        if at < 0:
            return None
        return self.get(self._text[self._text.rindex("\n", 0, at) + 2 : at - 1])

    def __iter__(self) -> Iterator[str]:
        return (line[1 : line.index('"', 1)] for line in self._text.splitlines() if line.startswith('"'))

    def model_types(self) -> Iterator[str]:
        for line in self._text.splitlines():
            if line.startswith('"'):
                yield json.loads(line[line.index(":{") + 15 : line.index(",")])


def _config_class(name: str, row: Mapping[str, Any]) -> ConfigClass:
    sets = {part: frozenset(row.get(part, ())) for part in ("derived", "nested", "published")}
    return ConfigClass(
        name, row["model_type"], tuple(row["architectures"]), row["fields"], row.get("attribute_map", {}), **sets
    )


@cache
def table() -> ConfigTable:
    """The committed table, read once."""
    return ConfigTable()
