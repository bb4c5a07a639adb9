"""Overlays: mappings merge key by key, lists, scalars and a bare true replace, another `kind` replaces the whole
mapping."""

from collections.abc import Callable
from typing import Any

from codegen.language.keys import Key, Section, keys
from codegen.language.load import Node
from codegen.language.normalize import EVERY_ROLE, SWITCHES


def merged(cls: type[Section], below: Node | None, above: Node) -> Node:
    """A section's normal mapping laid over another."""
    if below is None or below.mapping is None or above.mapping is None:
        return above
    if kind(cls, above, kind(cls, below)) != kind(cls, below):
        return above
    known = keys(cls)
    return _joined(below, above, lambda name, a, b: _value(known.get(name), a, b))


def kind(cls: type[Section], node: Node | None, otherwise: Any = None) -> Any:
    """The section's `kind`, or the first word where it is not written; None for a section without kinds."""
    key = keys(cls).get("kind")
    written = (node.mapping or {}).get("kind") if node is not None else None
    if written is not None:
        return written.value
    return otherwise if otherwise is not None or key is None else key.words[0]


def _value(key: Key | None, below: Node, above: Node) -> Node:
    if key is not None and key.type == "section" and key.section is not None:
        if key.bare in SWITCHES and not above.mapping:  # true: present with its defaults, whatever lies below
            return above
        return merged(key.section, below, above)
    if key is None or key.type not in ("mapping", "fused", "data"):
        return above
    return _plain(below, above)


def _plain(below: Node, above: Node) -> Node:
    if below.mapping is None or above.mapping is None:
        return above
    if (EVERY_ROLE in below.mapping) != (EVERY_ROLE in above.mapping):  # one flag for all, against a flag per role
        return above
    return _joined(below, above, lambda _, a, b: _plain(a, b))


def _joined(below: Node, above: Node, join: Callable[[Any, Node, Node], Node]) -> Node:
    entries = dict(below.mapping or {})
    for name, node in (above.mapping or {}).items():
        entries[name] = join(name, entries[name], node) if name in entries else node
    return Node(entries, above.at, above.flow, {**below.key_at, **above.key_at})
