"""What config classes hold, without importing transformers: a committed table, one class a line, parsed on demand."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

TABLE = Path(__file__).with_name("config_fields.json")
VISION_TABLE = TABLE.with_name("vision_fields.json")  # of classes of images and text
ABSENT = object()
ABOUT = "releases"  # the line that is no class


@dataclass(frozen=True, eq=False)
class ConfigClass:
    """A config class: `fields` are the values of a default instance, names that `attribute_map` renames resolve.

    `derived` are properties and what the class computes whatever it is given: readable, never written. `nested` are
    fields that hold a config of their own; other mappings (`rope_parameters`) are open. `published` are fields that no
    class declares but the reference reads where a config.json file carries them (`head_dim`).

    `fields` are those that every release of transformers has that the table spans, so that what is generated reads them
    wherever it runs; `newer` are those that only the newest has. `lender` is the model of another family that
    transformers runs the checkpoints with. `in_oldest` is whether the oldest release has the class at all.
    `parts` are, of a class of images and text, the model type and the config class of its text and of its tower, and
    whether they may be others. `model` is what the model of such a class tells by itself (parity/class_facts.py).
    """

    name: str
    model_type: str
    architectures: tuple[str, ...]
    fields: Mapping[str, Any]
    attribute_map: Mapping[str, str] = field(default_factory=dict[str, str])
    derived: frozenset[str] = frozenset()
    nested: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()
    newer: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lender: str | None = None
    in_oldest: bool = True
    parts: Mapping[str, tuple[str, str, bool]] = field(default_factory=dict[str, tuple[str, str, bool]])
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])

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
    """The config classes of the releases of transformers that the table was written with, the newest and the oldest."""

    def __init__(self, path: Path = TABLE) -> None:
        self._path = path
        self._parsed: dict[str, ConfigClass] = {}

    @cached_property
    def _text(self) -> str:
        return self._path.read_text(encoding="utf-8")

    @cached_property
    def _about(self) -> Mapping[str, Any]:
        """The first line: the releases, and the types whose class has another one."""
        return self._line(ABOUT) or {"types": {}}

    @property
    def releases(self) -> str:
        """Which releases the table was written with, as it is told."""
        return f"{self._about['oldest']} to {self._about['newest']}"

    def get(self, class_name: str) -> ConfigClass | None:
        """The class of that name, or None where the table has none."""
        if class_name not in self._parsed:
            row = self._line(class_name) if class_name != ABOUT else None
            if row is None:
                return None
            self._parsed[class_name] = _config_class(class_name, row)
        return self._parsed[class_name]

    def for_model_type(self, model_type: str) -> ConfigClass | None:
        """The class whose `model_type` this is, be it that of the text of a larger model; or None."""
        at = self._text.find(f':{{"model_type":{json.dumps(model_type)},')
        if at < 0:
            named = self._about["types"].get(model_type)
            return None if named is None else self.get(named)
        return self.get(self._text[self._text.rindex("\n", 0, at) + 2 : at - 1])

    def __iter__(self) -> Iterator[str]:
        return (line[1 : line.index('"', 1)] for line in self._lines())

    def model_types(self) -> Iterator[str]:
        yield from self._about["types"]
        for line in self._lines():
            yield json.loads(line[line.index(":{") + 15 : line.index(",")])

    def _lines(self) -> Iterator[str]:
        return (line for line in self._text.splitlines() if line.startswith('"') and not line.startswith(f'"{ABOUT}"'))

    def _line(self, name: str) -> Mapping[str, Any] | None:
        start = self._text.find(f'\n"{name}":')
        if start < 0:
            return None
        line = self._text[start + 1 : self._text.index("\n", start + 1)]
        return json.loads(line[len(name) + 3 :].rstrip(","))


def _config_class(name: str, row: Mapping[str, Any]) -> ConfigClass:
    sets = {part: frozenset(row.get(part, ())) for part in ("derived", "nested", "published")}
    newest, old = cast("dict[str, Any]", row["fields"]), cast("dict[str, Any]", row.get("oldest") or {})
    absent = old.get("absent", ())
    fields = {field: value for field, value in newest.items() if field not in absent}
    for name_there, value in old.get("fields", {}).items():
        if value is None and name_there in fields:  # None in one of them: a default that falls through in both
            fields[name_there] = None
    fields.setdefault("tie_word_embeddings", False)  # which transformers reads of any config, declared or not
    newer = {field: newest[field] for field in absent}
    names = row.get("attribute_map", {})
    fields |= {
        alias: newest[name] for alias, name in names.items() if name in absent and alias in old.get("fields", {})
    }
    if "attribute_map" in old:
        names = dict(names.items() & (old["attribute_map"] or {}).items())
    return ConfigClass(
        name,
        row["model_type"],
        tuple(row["architectures"]),
        fields,
        names,
        newer=newer,
        lender=row.get("lender"),
        in_oldest=row.get("oldest", {}) is not None,
        parts={part: (found[0], found[1], found[2]) for part, found in row.get("parts", {}).items()},
        model=_facts(row.get("model") or {}, old.get("model") or {}),
        **sets,
    )


def _facts(newest: Mapping[str, Any], oldest: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the model of a class is made of; AutoModel finds the tower only where it does so in both releases."""
    return {**newest, "auto": bool(newest.get("auto") and (not oldest or oldest.get("auto")))} if newest else {}


@cache
def table() -> ConfigTable:
    """The committed table, read once."""
    return ConfigTable()


@cache
def vision_table() -> ConfigTable:
    """The table of config classes of images and text, read once."""
    return ConfigTable(VISION_TABLE)
