"""Every small change of a spec: keys deleted, values flipped, terms and calls of equations dropped, one at a time.

Two sources: what the spec says (changed or deleted where it stands), and what the language offers (every key that the
spec leaves at its default is set to something else). A mutant is the text of a whole spec.
"""

import ast
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import yaml

from codegen.configs import ConfigClass
from codegen.language.attention import Norm, QKNorm
from codegen.language.frame import FRAME
from codegen.language.keys import Key, Section, keys
from codegen.language.load import load
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import WIRINGS, Spec
from codegen.language.values import Expression, expression
from codegen.tiny.evaluate import UNREADABLE, evaluate
from nemo_automodel.parity.mutate_text import equation_mutants, expression_mutants

Data = dict[str, Any]
Path = tuple[Any, ...]
EQUATIONS = ("input", "block", "output")
SAID = ("why", "summary", "docs")  # words for people
ABSENT: dict[str, Any] = {  # what an optional thing is set to where a spec has none
    **{"softcap": 0.7, "window": 4, "chunk": 6, "clip": 0.5, "limit": 0.5, "alpha": 1.7, "theta": 500.0, "width": 2},
    **{"inner_norm": "inner_norm", "in": 4, "out": 4, "weight": False, "bias": True, "when": False},
}
DERIVED = ("bias", "when")
NULLABLE = ("padding_idx",)


@dataclass(frozen=True)
class Mutation:
    """What was done, and the spec after it.

    key: the changed key. from_default: the spec leaves the key to its default. derived: that default follows from other
    keys, so that the mutant may say the same.
    """

    name: str
    text: str
    key: str
    from_default: bool = False
    derived: bool = False


class Reader:
    """Reads expressions under one config."""

    def __init__(self, config: ConfigClass, values: Mapping[str, Any]) -> None:
        known = {**config.fields, **values}
        self.values = known | {alias: known.get(name) for alias, name in config.attribute_map.items()}

    def read(self, value: Expression) -> Any:
        """The value on the first layer; None where it cannot be read."""
        try:
            return evaluate(value.tree, self.values, layer=0, head_dim=12)
        except UNREADABLE:
            return None

    def default(self, key: Key) -> Expression | None:
        """The first of a key's defaults that can be read, or says none."""
        candidates = [expression(text) for text in key.chain]
        return next((c for c in candidates if c.is_none or self.read(c) is not None), None)


def mutations(text: str, spec: LoadedSpec, config: ConfigClass, values: Mapping[str, Any]) -> Iterator[Mutation]:
    """All mutants of a spec, each once. `values` is a config under which its expressions can be read."""
    data: Data = load(text, spec.path).plain()
    seen = {_dump(data)}
    reader = Reader(config, values)
    deleted = {f"delete {_shown(path)}": _only_key(value) for path, value in _language(data)}
    written = (*_deletions(data), *_flips(data, reader))
    offered = _Offers(data, next(iter(spec.flat.values())), reader).mutants()
    for from_default, source in ((False, written), (True, offered)):
        for name, mutant in source:
            dumped = _dump(mutant)
            if dumped not in seen:
                seen.add(dumped)
                key = deleted.get(name) or name.removeprefix("delete ").partition(":")[0].rpartition(".")[2]
                yield Mutation(name, dumped, key, from_default, from_default and key in DERIVED)


def _only_key(value: Any) -> str | None:
    """The key that is all that a section says; None for what is no section, or says more."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((key, inner),) = value.items()
    return _only_key(inner) if isinstance(inner, dict) else key


def _dump(data: Data) -> str:
    return yaml.safe_dump(data, sort_keys=False, width=10_000)


def _shown(path: Path) -> str:
    return ".".join(map(str, path))


def _language(data: Data) -> Iterator[tuple[Path, Any]]:
    """Every key and every element below the frame, with its value."""

    def walk(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
        yield path, value
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            if key not in SAID:
                yield from walk((*path, key), child)

    for key, value in data.items():
        if key not in FRAME and key not in SAID:
            yield from walk((key,), value)


def _deletions(data: Data) -> Iterator[tuple[str, Data]]:
    for path, _ in _language(data):
        mutant = deepcopy(data)
        parent = _at(mutant, path[:-1])
        del parent[path[-1]]
        if parent or len(path) == 1:
            yield f"delete {_shown(path)}", mutant


def _flips(data: Data, reader: Reader) -> Iterator[tuple[str, Data]]:
    for path, value in _language(data):
        for done, other in _others(path, value, reader):
            yield f"{_shown(path)}: {done}", _set(data, path, other)


def _others(path: Path, value: Any, reader: Reader) -> Iterator[tuple[str, Any]]:
    """Other values for a written one."""
    if isinstance(value, bool):
        yield str(not value).lower(), not value
    elif isinstance(value, int | float):  # one more than ten thousand is within rounding
        other = value * 1.5 if isinstance(value, float) and value else value + 1
        yield f"{value} -> {other}", other
    elif isinstance(value, list) and len(value) > 1 and "fused" in path:
        yield "swap the first two", [value[1], value[0], *value[2:]]
    elif isinstance(value, str):
        yield from _other_texts(path, value, reader)


def _other_texts(path: Path, value: str, reader: Reader) -> Iterator[tuple[str, Any]]:
    key = next((part for part in reversed(path) if not isinstance(part, int)), "")
    if key in EQUATIONS and "=" in value:
        yield from equation_mutants(value)
    elif key in EQUATIONS or value in WIRINGS:
        yield from ((f"{value} -> {other}", other) for other in WIRINGS if other != value)
    elif words := [words for words in _words(str(key)) if value in words]:
        yield from ((f"{value} -> {other}", other) for other in words[0] if other != value)
    elif "config." in value or value.lstrip("-").replace(".", "").isdigit():
        yield from _other_expressions(value, reader)
    elif value != "none":
        yield f"{value} -> {value}x", f"{value}x"
    else:
        yield "none -> its default", {} if key == "rope" else "config.pad_token_id"


def _other_expressions(value: str, reader: Reader) -> Iterator[tuple[str, Any]]:
    yield from expression_mutants(value)
    for other in ("none", *_flipped(value, reader.read(expression(value)))):
        yield f"{value} -> {other}", other


def _words(name: str) -> list[tuple[Any, ...]]:
    """The word lists of every key of that name in the language."""
    lists: list[tuple[Any, ...]] = []

    def walk(section: type[Section]) -> None:
        for key_name, key in keys(section).items():
            if key_name == name and key.words:
                lists.append(key.words)
            if key.kinds and key_name in (name, "attention", "mlp"):
                lists.append(tuple(key.kinds))
            for inner in (*filter(None, (key.section,)), *(key.kinds or {}).values()):
                walk(inner)

    walk(Spec)
    return lists


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _set(data: Data, path: Path, value: Any) -> Data:
    """A copy with a value at a path; mappings on the way are made, and bare words written out."""
    mutant = deepcopy(data)
    place: Any = mutant
    for part, following in zip(path[:-1], path[1:], strict=True):
        inner = place[part] if isinstance(place, list) else place.get(part)
        if not isinstance(inner, dict | list):
            bare = "over" if part == "qk_norm" else "kind"
            inner = {} if inner is None or isinstance(inner, bool) or inner == "none" else {bare: inner}
        place[part] = inner
        place = inner
        del following
    place[path[-1]] = value
    return mutant


class _Offers:
    """What the language offers beside what the spec says."""

    def __init__(self, data: Data, flat: Spec, reader: Reader) -> None:
        self.data, self.flat, self.reader = data, flat, reader

    def mutants(self) -> Iterator[tuple[str, Data]]:
        yield from self._equations()
        for name in ("norm", "rope", "attention", "mlp", "head", "embedding", "dropout"):
            yield from self._section((name,), getattr(self.flat, name))
        if self.flat.rope is not None and "rope" not in self.data:
            yield "rope: none", _set(self.data, ("rope",), "none")
        for slot in ("attention", "mlp"):
            for kind, section in (keys(Spec)[slot].kinds or {}).items():
                if section is type(getattr(self.flat, slot)):
                    continue
                yield f"{slot}.kind: {kind}", _set(self.data, (slot,), kind)

    def _equations(self) -> Iterator[tuple[str, Data]]:
        """Mutants of the equations that the spec leaves to a default or to a named wiring."""
        for name in EQUATIONS:
            written = self.data.get(name)
            if written is not None and not (isinstance(written, str) and written in WIRINGS):
                continue
            lines = [f"{e.target} = {ast.unparse(e.value)}" for e in getattr(self.flat, name)]
            for index, line in enumerate(lines):
                for done, other in equation_mutants(line):
                    yield f"{name}: {done}", _set(self.data, (name,), [*lines[:index], other, *lines[index + 1 :]])
                if len(lines) > 1:
                    yield f"{name}: drop {line}", _set(self.data, (name,), lines[:index] + lines[index + 1 :])
            if name == "block":
                others = [name for name in WIRINGS if name != (written or "pre_norm")]
                yield from ((f"block: {name}", _set(self.data, ("block",), name)) for name in others)

    def _section(self, path: Path, section: Section | None) -> Iterator[tuple[str, Data]]:
        """Every key of a section that is not written."""
        if section is None:
            return
        for name, key in keys(type(section)).items():
            here = (*path, name)
            value = getattr(section, name if hasattr(section, name) else f"{name}_")
            if value is None and isinstance(section, Norm):
                value = getattr(self.flat.norm, name, None)  # what every norm inherits
            for other in self._alternatives(here, key, value):
                yield f"{_shown(here)}: {other}", _set(self.data, here, other)
            if key.type == "section" and key.section is not None:
                inner = value if value is not None else key.section()
                if value is not None or not issubclass(key.section, Norm | QKNorm):
                    yield from self._section(here, inner)

    def _alternatives(self, path: Path, key: Key, value: Any) -> Iterator[Any]:
        if key.type == "choice":
            yield from (word for word in key.words if word != value and not (value is None and word == key.words[0]))
        elif key.type == "expression":
            yield from self._other_value(path[-1], key, value)
        elif key.type == "mapping":
            yield from self._other_roles(path[-1], key, value)
        elif key.type == "section" and key.bare == "over":
            yield from (word for word in ("head", "projection"))
        elif key.type == "section" and key.bare == "flag":
            yield value is None
        elif key.type == "text" and path[-1] in ABSENT:
            yield ABSENT[path[-1]]

    def _other_value(self, name: str, key: Key, value: Expression | None) -> Iterator[Any]:
        value = value or self.reader.default(key)
        if value is None or value.is_none:
            if name in ABSENT:
                yield ABSENT[name]
                yield from (False,) if name == "bias" else ()
            return
        yield from _flipped(value.text, self.reader.read(value))
        if name in NULLABLE:
            yield "none"

    def _other_roles(self, name: str, key: Key, value: Mapping[str, Expression] | None) -> Iterator[Any]:
        """A mapping by role with one role flipped: flags the other way round, factors unlike one."""
        default = self.reader.default(key)
        written = dict(value or {})
        everywhere = written.pop("*", None)
        spread = {"q": "qkv", "k": "qkv", "v": "qkv"}
        now: dict[str, Expression | None] = {
            role: written.get(role) or written.get(spread.get(role, ""), everywhere or default)
            for role in key.words
            if role not in spread.values()
        }
        for role, current in now.items():
            for other in _flipped(current.text, self.reader.read(current)) if current is not None else [1.5]:
                yield {r: e.text for r, e in now.items() if e is not None and r != role} | {role: other}


def _flipped(text: str, value: Any) -> Iterator[Any]:
    """Other values for an expression that now yields `value`."""
    if isinstance(value, bool):
        yield not value if text in ("True", "False") else f"not ({text})"
    elif isinstance(value, int):
        yield f"({text}) + 1"
    elif isinstance(value, float):
        yield f"({text}) * 1.5" if value else "0.45"  # what no field of a tiny config holds
    elif isinstance(value, str):
        yield "relu" if value != "relu" else "silu"
