"""The `layers` of a file, and those that entries of `variants` bring: each under the condition under which it holds.

A variant lays its `layers` on the file's as on any section: a mapping merges, a list replaces. So a schedule may be one
of some variants alone. Its condition is asked only where they hold; elsewhere a `when` is false and a `by` is None.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.frozen import Frozen
from codegen.language.load import Node

LAYERS = "layers"


class Scheduled(Frozen):
    """One entry of `layers`. `guard`: the condition on the config under which it is there, or None for always."""

    path: str
    entry: Node
    guard: str | None = None


def listed(section: str, node: Node | None) -> list[tuple[str, Node]]:
    """The entries of a section, which may be a single one, with their paths."""
    if node is None:
        return []
    if node.items is None:
        return [(section, node)]
    return [(f"{section}.{index}", item) for index, item in enumerate(node.items)]


def scheduled(root: Node) -> Iterator[Scheduled]:
    """All entries of `layers`, in the order in which they apply."""
    sections = root.mapping or {}
    brought = [
        found for path, item in listed("variants", sections.get("variants")) if (found := _brought(path, item.mapping))
    ]
    for guards, path, node in _held(brought, (), LAYERS, sections.get(LAYERS)):
        guard = " and ".join(f"({one})" for one in guards) or None
        for where, entry in listed(path, node):
            yield Scheduled(where, entry, guard)


def without_layers(overlay: Node) -> Node:
    """An overlay less its `layers`."""
    if LAYERS not in (overlay.mapping or {}):
        return overlay
    rest = {name: node for name, node in (overlay.mapping or {}).items() if name != LAYERS}
    return Node(rest, overlay.at, overlay.flow, overlay.key_at)


Case = tuple[str, str, Node | None]  # the condition of an outcome, the path of the `layers` that it brings, and these


def _brought(path: str, item: Mapping[Any, Node] | None) -> list[Case]:
    """The outcomes of one variant, apart as far as they bring `layers`; none if no outcome does."""
    item = item or {}
    if "when" in item and LAYERS in item:
        asked = item["when"].value
        return [(str(asked), f"{path}.{LAYERS}", item[LAYERS]), (f"not ({asked})", "", None)]
    kinds = (item["kinds"].mapping if "kinds" in item else None) or {}
    bring = {kind: one.mapping[LAYERS] for kind, one in kinds.items() if one.mapping and LAYERS in one.mapping}
    if "by" not in item or not bring:
        return []
    asked = item["by"].value
    cases: list[Case] = [
        (f"({asked}) == {kind!r}", f"{path}.kinds.{kind}.{LAYERS}", node) for kind, node in bring.items()
    ]
    return [*cases, (f"({asked}) not in {tuple(bring)!r}", "", None)]


def _held(
    brought: list[list[Case]], guards: tuple[str, ...], path: str, node: Node | None
) -> Iterator[tuple[tuple[str, ...], str, Node | None]]:
    """What holds under every combination of outcomes."""
    if not brought:
        yield guards, path, node
        return
    cases, *rest = brought
    for guard, where, above in cases:
        held = (path, node) if above is None else (where, laid(node, above))
        yield from _held(rest, (*guards, guard), *held)


def laid(below: Node | None, above: Node) -> Node:
    """A mapping over a mapping, key by key; all else replaces."""
    if below is None or below.mapping is None or above.mapping is None:
        return above
    entries = dict(below.mapping)
    for name, node in above.mapping.items():
        entries[name] = laid(entries.get(name), node)
    return Node(entries, above.at, above.flow, {**below.key_at, **above.key_at})
