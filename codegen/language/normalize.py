"""Shorthands written out, so that everything after sees one form of each key.

`mlp: plain` becomes `{kind: plain}`, `qk_norm: head` `{over: head}`, `alibi: true` `{}`, `bias: flag` `{"*": flag}`,
a named wiring its equations, `[gate, up]` under `fused` `{parts: [gate, up]}`, and `none` in place of a section None.
What has another shape is passed on as it stands; the check refuses it.
"""

from collections.abc import Callable
from typing import Any

from codegen.language.keys import Key, Section, keys
from codegen.language.load import Node
from codegen.language.spec import WIRINGS

EVERY_ROLE = "*"
SWITCHES = ("flag", "over", "when")  # what a truth value may stand for in place of a section


def normal(cls: type[Section], node: Node) -> Node:
    """A section's mapping with every key in its full form."""
    if node.mapping is None:
        return node
    known = keys(cls)
    return _with(node, {name: value(known[name], child) if name in known else child for name, child in _entries(node)})


def value(key: Key, node: Node) -> Node:
    """One key's value in its full form."""
    if key.type == "section" and key.section is not None:
        return normal(key.section, opened(key, node))
    if key.type == "equations":
        return _equations(node)
    if key.type == "projection":
        return _projection(node)
    if key.type == "fused":
        return _each(node, lambda stored: Node({"parts": stored}, stored.at) if stored.items is not None else stored)
    if key.type == "mapping" and key.bare is not None and node.mapping is None and node.items is None:
        return Node({key.bare: node}, node.at)
    return node


def opened(key: Key, node: Node) -> Node:
    """A bare word, truth value or `none` in place of a section, as the mapping or the absence that it stands for."""
    if node.mapping is not None or node.items is not None:
        return node
    written = node.value
    if key.bare != "kind" and (written is None or written == "none" or (written is False and key.bare is not None)):
        return Node(None, node.at)
    if key.bare is None or (key.bare == "flag" and written is not True):
        return node
    if written is True and key.bare in SWITCHES:
        return Node({}, node.at)
    return Node({key.bare: node}, node.at)


def _equations(node: Node) -> Node:
    if not isinstance(node.value, str):
        return node
    texts = WIRINGS.get(node.value, (node.value,))
    return Node(tuple(Node(text, node.at, node.flow) for text in texts), node.at)


def _projection(node: Node) -> Node:
    """Equations in a list; `none` is none of them."""
    if not isinstance(node.value, str):
        return node
    return Node((), node.at) if node.value == "none" else Node((node,), node.at)


def _each(node: Node, change: Callable[[Node], Node]) -> Node:
    return node if node.mapping is None else _with(node, {name: change(child) for name, child in _entries(node)})


def _entries(node: Node) -> list[tuple[Any, Node]]:
    return list((node.mapping or {}).items())


def _with(node: Node, entries: dict[Any, Node]) -> Node:
    return Node(entries, node.at, node.flow, node.key_at)
