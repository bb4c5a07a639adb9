"""Checked nodes as the typed sections of the language."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from codegen.language import equations, expressions
from codegen.language.keys import Key, Section, element, keys
from codegen.language.load import Node
from codegen.language.spec import Drop, Fused
from codegen.language.structure import is_word
from codegen.language.values import Expression

Chosen = Callable[[Key, Node], Any]


def build(cls: type[Section], node: Node, chosen: Chosen) -> Section:
    """The section of a merged mapping that the check has passed. `chosen` answers choices given by an expression."""
    known = {item.name.rstrip("_"): item for item in fields(cls)}
    values: dict[str, Any] = {}
    for name, child in (node.mapping or {}).items():
        if name == "why":
            values[name] = child.value
        elif name in keys(cls):
            values[known[name].name] = value(keys(cls)[name], child, chosen)
    return cls(**values)


def value(key: Key, node: Node, chosen: Chosen) -> Any:
    """What a key holds."""
    if key.type == "section" and key.section is not None:
        built = None if node.value is None else build(key.section, node, chosen)
        return None if built is None or _is_absent(built) else built
    if key.type == "projection" and key.section is not None and node.mapping is not None:
        return build(key.section, node, chosen)
    if key.type == "choice":
        return _word(key, node, chosen)
    return _VALUES[key.type](key, node)


def _is_absent(section: Section) -> bool:
    """Whether it describes a thing that no config has, so that it says no more than nothing does."""
    when: Expression | None = getattr(section, "when", None)
    return when is not None and when.constant is False and not section.by_itself


def _word(key: Key, node: Node, chosen: Chosen) -> Any:
    if is_word(key, node.value):
        return next(word for word in key.words if word == node.value)
    if key.truth and isinstance(node.value, bool):
        return key.words[int(node.value)]
    return chosen(key, node)


def expression(key: Key, node: Node) -> Expression:
    return expressions.parse(node.value, node.at, (*expressions.NAMES, *key.names), key.words)


def _mapping(key: Key, node: Node) -> Mapping[str, Any]:
    entries = node.mapping or {}
    if key.words:
        return {name: expression(element(key), child) for name, child in entries.items()}
    return {name: _stored(child) for name, child in entries.items()}


def _stored(node: Node) -> str | tuple[str, ...]:
    return tuple(node.plain()) if node.items is not None else node.value


def _fused(_: Key, node: Node) -> Mapping[str, Fused]:
    found: dict[str, Fused] = {}
    for name, stored in (node.mapping or {}).items():
        entries = stored.mapping or {}
        groups = entries.get("groups")
        parts = tuple(entries["parts"].plain()) if "parts" in entries else ()
        found[name] = Fused(parts, None if groups is None else expression(Key("expression", ""), groups))
    return found


def _drops(_: Key, node: Node) -> tuple[Drop, ...]:
    return tuple(Drop(entry["match"], entry["why"]) for entry in node.plain())


def _tensor(key: Key, node: Node) -> Expression:
    from codegen.language.vision.tensors import parse_tensor

    return parse_tensor(node.value, node.at, key.names)


def _tensors(key: Key, node: Node) -> Mapping[str, Expression]:
    return {name: _tensor(key, child) for name, child in (node.mapping or {}).items()}


def _projection(_: Key, node: Node) -> Any:
    from codegen.language.vision.equations import parse_projected

    return tuple(parse_projected(item.value, item.at) for item in node.items or ())


_VALUES: dict[str, Callable[[Key, Node], Any]] = {
    "expression": expression,
    "text": lambda key, node: tuple(node.plain()) if key.many else node.value,
    "mapping": _mapping,
    "equations": lambda _, node: tuple(equations.parse(item.value, item.at) for item in node.items or ()),
    "fused": _fused,
    "drops": _drops,
    "data": lambda _, node: node.plain(),
    "tensor": _tensor,
    "tensors": _tensors,
    "projection": _projection,
}
