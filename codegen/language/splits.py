"""The entries of `variants` and `layers`: on what they depend, and which outcomes they may have."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from codegen.configs import ConfigClass
from codegen.errors import Location, Problem, dotted
from codegen.frozen import Frozen
from codegen.language import expressions, once
from codegen.language.fields import missing
from codegen.language.keys import Section, keys
from codegen.language.load import Node
from codegen.language.loaded import Split
from codegen.language.scheduled import Scheduled, listed, scheduled, without_layers
from codegen.language.spec import ATTENTION_KINDS, MLP_KINDS, USUAL_KINDS
from codegen.language.suggest import cure
from codegen.language.values import Expression

OVERLAY_KEYS = ("by", "kinds", "when", "why")
SECTIONS = ("variants", "layers")
Report = Callable[[Problem], None]


class Entry(Frozen):
    """One entry: its split, and the overlay that each outcome lays on (none for an outcome that changes nothing)."""

    split: Split
    overlays: Mapping[Any, Node | None]
    path: str

    @property
    def outcomes(self) -> tuple[Any, ...]:
        return self.split.outcomes

    @property
    def outside(self) -> "Entry":
        """The entry as what exists once for the whole model sees it: nothing is laid on it for a layer."""
        return replace(self, overlays={}) if self.split.per_layer else self


class Reader(Frozen):
    """Reads the entries of one file; what is wrong goes to `report`."""

    config: ConfigClass | None
    attention: type[Section]  # the class of the token mixer below all overlays
    report: Report

    def entries(self, root: Node) -> list[Entry]:
        """All entries in the order in which they apply: variants, then layers."""
        variants = [Scheduled(*one) for one in listed("variants", (root.mapping or {}).get("variants"))]
        found = [self.entry(one, False) for one in variants] + [self.entry(one, True) for one in scheduled(root)]
        return [entry for entry in found if entry is not None]

    def refuse(self, node: Node, path: str, message: str, remedy: str, key: Any = None) -> None:
        self.report(Problem(node.key_at[key] if key is not None else node.at, path, message, remedy))

    def entry(self, one: Scheduled, per_layer: bool) -> Entry | None:
        node, path = one.entry, one.path
        entries = node.mapping or {}
        asked = [name for name in ("by", "when") if name in entries]
        if len(asked) != 1:
            self.refuse(node, path, "needs exactly one of `by` and `when`", "write {when: <expression>, ...}")
            return None
        condition = self.condition(entries[asked[0]], per_layer, f"{path}.{asked[0]}")
        why = entries.get("why")
        if why is not None and not isinstance(why.value, str):
            self.refuse(why, f"{path}.why", "must be text", "write one sentence")
        if condition is None:
            return None
        reason = why.value if why is not None and isinstance(why.value, str) else None
        overlays = self.overlay(node, path) if asked == ["when"] else self.kinds(node, condition, path)
        if one.guard is not None:
            condition = _guarded(condition, one.guard, asked == ["by"])
            overlays |= {None: None} if asked == ["by"] else {}
            if condition is None:  # what is wrong with the variant's is told there
                return None
        if not per_layer:
            overlays = {outcome: overlay and without_layers(overlay) for outcome, overlay in overlays.items()}
        for outcome, overlay in overlays.items():
            where = path if asked == ["when"] else f"{path}.kinds.{outcome}"
            for problem in once.problems(overlay, where, per_layer) if overlay is not None else ():
                self.report(problem)
        outcomes = (False, True) if asked == ["when"] else tuple(overlays)
        split = Split(condition, outcomes, asked == ["by"], per_layer, f"{path}.{asked[0]}", reason)
        return Entry(split, overlays, path)

    def condition(self, node: Node, per_layer: bool, path: str) -> Expression | None:
        if node.mapping is not None or node.items is not None:
            self.refuse(node, path, "must be an expression", "quote it if it has brackets or commas")
            return None
        try:
            condition = expressions.parse(node.value, node.at, ("config", "layer") if per_layer else ("config",))
        except expressions.Refused as refused:
            early = not per_layer and refused.message.startswith("'layer'")
            self.refuse(node, path, refused.message, "put it under `layers`" if early else refused.cure)
            return None
        if self.config is not None:
            for problem in missing(self.config, condition.tree, node, path):
                self.report(problem)
        return condition

    def overlay(self, node: Node, path: str) -> dict[Any, Node | None]:
        """The overlay of a `when`: the sections beside it."""
        entries = dict(node.mapping or {})
        if "kinds" in entries:
            self.refuse(node, f"{path}.kinds", "belongs to `by`", "write the sections beside `when`", "kinds")
        for name in OVERLAY_KEYS:
            entries.pop(name, None)
        if not entries:
            self.refuse(node, path, "changes nothing", "write the sections that differ beside `when`")
        return {True: Node(entries, node.at, node.flow, node.key_at)}

    def kinds(self, node: Node, condition: Expression, path: str) -> dict[Any, Node | None]:
        """The overlays of a `by`: those under `kinds`, and the usual ones that may occur besides."""
        entries = node.mapping or {}
        for name in entries.keys() - {"by", "kinds", "why"}:
            near = cure(name, ("by", "kinds", "why"))
            remedy = near if near.startswith("did") else "overlays stand under kinds: {<value>: {...}}"
            self.refuse(node, dotted(path, name), "is not a key beside `by`", remedy, name)
        listed = entries.get("kinds")
        if listed is not None and listed.mapping is None:
            self.refuse(listed, f"{path}.kinds", "must be a mapping", "write kinds: {<value>: {<overlay>}}")
        written = dict((listed.mapping if listed is not None else None) or {})
        overlays: dict[Any, Node | None] = {}
        for name, overlay in written.items():
            if overlay.mapping is None:
                remedy = "{} changes nothing"
                self.refuse(overlay, dotted(f"{path}.kinds", name), "must be a mapping of sections", remedy)
            overlays[name] = overlay if overlay.mapping else None
        for name in usual(condition, tuple(written), self.config, self.attention):
            overlays.setdefault(name, _node(USUAL_KINDS[name], node.at) if USUAL_KINDS[name] else None)
        if not overlays:
            self.refuse(node, f"{path}.kinds", "no kind is known for this schedule", "list the values under kinds")
        return overlays


def _guarded(condition: Expression, guard: str, by: bool) -> Expression | None:
    """The condition where a guard holds; elsewhere it is not asked."""
    text = f"({condition.text}) if {guard} else None" if by else f"{guard} and ({condition.text})"
    try:
        return expressions.parse(text, condition.at, ("config", "layer"))
    except expressions.Refused:
        return None


def usual(
    condition: Expression, listed: tuple[Any, ...], config: ConfigClass | None, attention: type[Section]
) -> tuple[str, ...]:
    """The kinds with a usual meaning that may occur besides the listed ones.

    Which they are follows from what the field holds on a default instance, else from the listed kinds.
    """
    seen = [str(value) for value in _default_values(condition, config) or listed]
    if any(value in MLP_KINDS for value in seen):
        category = MLP_KINDS
    elif all(value.endswith("_attention") for value in seen):
        category = ATTENTION_KINDS
    else:  # a schedule of whole blocks: `moe`, `mlp`, `conv`
        category = tuple(name for name in ATTENTION_KINDS if name in seen)
    return tuple(name for name in category if _possible(name, config, attention))


def _default_values(condition: Expression, config: ConfigClass | None) -> tuple[Any, ...]:
    found: list[Any] = []
    for path in expressions.config_paths(condition.tree):
        if config is not None and config.has(path):
            value = config.value(path)
            found += value if isinstance(value, list) else [] if value is None or isinstance(value, dict) else [value]
    return tuple(found)


def _possible(name: str, config: ConfigClass | None, attention: type[Section]) -> bool:
    """Whether the config class has the fields that the usual meaning reads, and the mixer the keys that it writes."""
    overlay: Mapping[str, str] = USUAL_KINDS[name].get("attention", {})
    fields = (text.removeprefix("config.") for text in overlay.values())
    return overlay.keys() <= keys(attention).keys() and (config is None or all(map(config.has, fields)))


def _node(value: Any, at: Location) -> Node:
    """A usual meaning as if it were written at the schedule."""
    if not isinstance(value, dict):
        return Node(value, at)
    entries = cast("dict[str, Any]", value)
    return Node({name: _node(child, at) for name, child in entries.items()}, at, key_at=dict.fromkeys(entries, at))
