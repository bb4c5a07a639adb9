"""From the nodes of a spec file to one flat, typed spec per combination of outcomes of its `variants` and `layers`."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import Problem, dotted, shown
from codegen.language import build, normalize, structure
from codegen.language.defaults import DEFAULTS
from codegen.language.fields import lacking
from codegen.language.keys import Key, Section, keys
from codegen.language.load import Node
from codegen.language.loaded import Split
from codegen.language.merge import merged
from codegen.language.scheduled import laid
from codegen.language.spec import Spec
from codegen.language.splits import OVERLAY_KEYS, SECTIONS, Entry, Reader
from codegen.language.suggest import cure
from codegen.language.values import Expression

MAX_COMBINATIONS = 256
Top = dict[str, Node]


@dataclass
class Resolved:
    """The splits, and for each combination of their outcomes the merged nodes and the typed spec.

    outer: the typed spec without what `layers` lays on.
    """

    splits: tuple[Split, ...]
    nodes: Mapping[tuple[Any, ...], Node]
    flat: Mapping[tuple[Any, ...], Spec]
    outer: Mapping[tuple[Any, ...], Spec]


@dataclass
class Resolver:
    """One file's resolution; what is wrong on the way is collected in `problems`."""

    config: ConfigClass | None
    frame: frozenset[str]
    problems: dict[Problem, None] = field(default_factory=dict[Problem, None])
    language: type[Section] = Spec
    choices: dict[tuple[str, tuple[Any, ...]], Split] = field(default_factory=dict[Any, Split])
    _is_read: bool = True  # whether what is laid down is final, so that its fields of the config count
    _checked: dict[tuple[int, Any], Node] = field(default_factory=dict[Any, Node])
    _merged: dict[tuple[int, int], Node] = field(default_factory=dict[Any, Node])
    _opened: dict[int, Node] = field(default_factory=dict[int, Node])

    def resolve(self, root: Node, over: Node | None = None, path: str = "") -> Resolved | None:
        """Everything, or None where there are problems; `over`: what another file lays on this one, at a path there."""
        base = self.overlaid(DEFAULTS, root, "") if over is None else self.overlaid_from(root, over, path)
        root = root if over is None else _with_schedules(root, over)
        found = Reader(self.config, _mixer(base), self.report).entries(root)
        count = 1
        for entry in found:
            count *= len(entry.outcomes)
        if count > MAX_COMBINATIONS:
            self.report(Problem(root.at, "layers", f"{count} combinations of outcomes", f"at most {MAX_COMBINATIONS}"))
            return None
        nodes = dict(self.combinations(base, found))
        scheduled = any(entry.split.per_layer for entry in found)
        outside = dict(self.combinations(base, [entry.outside for entry in found])) if scheduled else nodes
        if self.problems:
            return None
        choices = tuple(self.choices.values())
        splits = (*(entry.split for entry in found), *choices)
        flat: dict[tuple[Any, ...], Spec] = {}
        outer: dict[tuple[Any, ...], Spec] = {}
        places: dict[tuple[Any, ...], Node] = {}
        for chosen in product(*(split.outcomes for split in choices)):
            sections = _Typed(dict(zip(self.choices, chosen, strict=True)), self.choices)
            for outcomes, top in nodes.items():
                flat[outcomes + chosen] = sections.of(top)
                outer[outcomes + chosen] = sections.of(outside[outcomes])
                places[outcomes + chosen] = Node(top, root.at, key_at=root.key_at)
        return Resolved(splits, places, flat, outer)

    def report(self, problem: Problem) -> None:
        self.problems[problem] = None

    def combinations(self, top: Top, found: list[Entry]) -> Iterator[tuple[tuple[Any, ...], Top]]:
        """The merged sections of every combination, overlays laid on in the order in which they are written."""
        if not found:
            yield (), top
            return
        entry, *rest = found
        for outcome in entry.outcomes:
            overlay = entry.overlays.get(outcome)
            laid = top if overlay is None else self.overlaid(top, overlay, f"{entry.path}.")
            for outcomes, sections in self.combinations(laid, rest):
                yield (outcome, *outcomes), sections

    def overlaid_from(self, root: Node, over: Node, path: str) -> Top:
        """The sections of a file with what another one lays on them; what that replaces need not suit the config."""
        self._is_read = False
        laid = self.overlaid(self.overlaid(DEFAULTS, root, ""), over, f"{path}.", SECTIONS)
        self._is_read = True
        for name, node in laid.items():
            if name in keys(self.language):
                self.read_section(keys(self.language)[name], node, name)
        return laid

    def read_section(self, key: Key, node: Node, path: str) -> None:
        """What `read_key` does, for a whole section of the spec in its normal form."""
        if key.type == "named":
            for name, part in (node.mapping or {}).items():
                self.read_section(Key("kinds", "", kinds=key.kinds), part, f"{path}.{dotted(name)}")
        elif key.type == "kinds" and key.kinds is not None and node.mapping is not None:
            self.read(key.kinds[node.mapping["kind"].value], without(node, ("kind",)), path)
        else:
            self.read_key(key, node, path)

    def overlaid(self, below: Top, overlay: Node, path: str, beside: Collection[str] = OVERLAY_KEYS) -> Top:
        """The sections below with an overlay of the file laid over them; `beside`: its keys that are no sections."""
        above = dict(below)
        for name, node in (overlay.mapping or {}).items():
            key = keys(self.language).get(name)
            if key is not None:
                laid = self.section(name, key, below.get(name), node, f"{path}{name}")
                if laid is not None:
                    above[name] = laid
            elif name == "why":
                above[name] = node
                if not isinstance(node.value, str):
                    self.report(Problem(node.at, f"{path}why", "must be text", "write one sentence"))
            elif name not in (beside if path else self.frame):
                self.report(self.unknown(name, overlay, path, beside if path else sorted(self.frame)))
        return above

    def unknown(self, name: Any, overlay: Node, path: str, beside: Collection[str]) -> Problem:
        """A key that neither the language nor the frame has."""
        known = [*keys(self.language), *beside]
        return Problem(overlay.key_at[name], f"{path}{dotted(name)}", "is not a key here", cure(name, known))

    def section(self, name: str, key: Key, below: Node | None, node: Node, path: str) -> Node | None:
        """One section of the spec laid over the one below."""
        if key.type == "kinds":
            return self.kinded(key, below, node, path)
        if key.type == "named":
            return self.named(key, below, node, path)
        if key.type == "projection" and key.section is not None and node.mapping is not None:
            if "class" not in node.mapping:
                self.report(Problem(node.at, path, "names no class", "write {class: family.Class, ...}"))
            return self.checked(key.section, node, path)
        if key.type != "section" or key.section is None:
            return self.checked_key(name, key, node, path)
        opened = self.opened(key, node)
        if opened.value is None and keys_optional(name):
            return opened
        return self.joined(key.section, below, self.checked(key.section, opened, path))

    def kinded(self, key: Key, below: Node | None, node: Node, path: str) -> Node | None:
        """A section with a class per `kind`; an overlay without a kind has the kind of what it lies on."""
        assert key.kinds is not None
        opened = self.opened(key, node)
        inherited = (below.mapping or {}).get("kind") if below is not None else None
        written = (opened.mapping or {}).get("kind", inherited)
        if opened.mapping is None or written is None:
            message = "must be a mapping with a kind" if opened.mapping is None else "needs a kind"
            self.report(Problem(node.at, path, message, f"kinds: {', '.join(key.kinds)}"))
            return None
        if not isinstance(written.value, str) or written.value not in key.kinds:
            known = cure(written.plain(), key.kinds, "kinds")
            self.report(Problem(written.at, f"{path}.kind", f"{shown(written.plain())} is not known", known))
            return None
        cls = key.kinds[written.value]
        own = self.checked(cls, opened, path, True)
        if inherited is not None and inherited.value != written.value:
            return own
        return self.joined(cls, below, own)

    def named(self, key: Key, below: Node | None, node: Node, path: str) -> Node | None:
        """Further parts, by name."""
        if node.mapping is None:
            self.report(
                Problem(node.at, path, "must be a mapping of parts", "write parts: {name: {kind: linear, ...}}")
            )
            return None
        above = dict((below.mapping if below is not None else None) or {})
        for name, part in node.mapping.items():
            part = part if key.default is None else self.of_kind(key, part, above.get(name))
            laid = self.kinded(key, above.get(name), part, f"{path}.{dotted(name)}")
            if laid is not None:
                above[name] = laid
        return Node(above, node.at, key_at={**(below.key_at if below else {}), **node.key_at})

    def of_kind(self, key: Key, part: Node, below: Node | None) -> Node:
        """A part that is of the usual kind where it says none."""
        opened = self.opened(key, part)
        if below is not None or opened.mapping is None or "kind" in opened.mapping:
            return opened
        return with_kind(opened, Node(key.default, opened.at))

    def joined(self, cls: type[Section], below: Node | None, above: Node) -> Node:
        if below is None:
            return above
        at = (id(below), id(above))
        if at not in self._merged:
            self._merged[at] = merged(cls, below, above)
        return self._merged[at]

    def opened(self, key: Key, node: Node) -> Node:
        """The section behind a bare word; one node for each node of the file, which lives as long as the file."""
        if id(node) not in self._opened:
            self._opened[id(node)] = normalize.opened(key, node)
        return self._opened[id(node)]

    def checked(self, cls: type[Section], node: Node, path: str, kinded: bool = False) -> Node:
        """The normal form of a section's mapping, without what is wrong with it."""
        at = (id(node), cls)
        if at not in self._checked:
            self._checked[at] = self._check(cls, node, path, kinded)
        return self._checked[at]

    def _check(self, cls: type[Section], node: Node, path: str, kinded: bool) -> Node:
        kind = (node.mapping or {}).get("kind") if kinded else None
        normal = normalize.normal(cls, node if kind is None else without(node, ("kind",)))
        for at, problem in structure.problems(cls, normal, path):
            self.report(problem)
            normal = without(normal, at)
        self.read(cls, normal, path)
        return normal if kind is None or normal.mapping is None else with_kind(normal, kind)

    def checked_key(self, name: str, key: Key, node: Node, path: str) -> Node | None:
        at = (id(node), name)
        if at not in self._checked:
            normal = normalize.value(key, node)
            found = structure.key_problems(self.language, name, normal, path.removesuffix(name).removesuffix("."))
            for _, problem in found:
                self.report(problem)
            if found:
                return None
            self._checked[at] = normal
            self.read_key(key, normal, path)
        return self._checked[at]

    def read(self, cls: type[Section], node: Node, path: str) -> None:
        """Note choices given by an expression, and report config fields that the class lacks."""
        for name, child in (node.mapping or {}).items():
            if name in keys(cls):
                self.read_key(keys(cls)[name], child, f"{path}.{name}")

    def read_key(self, key: Key, node: Node, path: str) -> None:
        if not self._is_read:
            return None
        if key.type == "section" and key.section is not None:
            return self.read(key.section, node, path)
        if key.type == "choice" and not structure.is_word(key, node.value) and not isinstance(node.value, bool):
            self.choice(key, build.expression(key, node), path)
        for problem in lacking(self.config, key, node, path):
            self.report(problem)
        return None

    def choice(self, key: Key, condition: Expression, path: str) -> None:
        """A choice that the config makes is a split of its own."""
        outcomes = (False, True) if key.truth else key.words
        split = Split(condition, outcomes, not key.truth, condition.mentions("layer"), path)
        self.choices.setdefault((condition.text, key.words), split)


def _with_schedules(root: Node, over: Node) -> Node:
    """The file with the `variants` and `layers` of what is laid on it: a mapping merges, a list replaces."""
    below, above = root.mapping or {}, over.mapping or {}
    schedules = {name: laid(below.get(name), above[name]) for name in SECTIONS if name in above}
    return Node({**below, **schedules}, over.at, key_at={**root.key_at, **over.key_at})


def _mixer(base: Top) -> type[Section]:
    """The class of the token mixer below all overlays."""
    kinds = keys(Spec)["attention"].kinds
    assert kinds is not None and base["attention"].mapping is not None
    return kinds[base["attention"].mapping["kind"].value]


def keys_optional(name: str) -> bool:
    """Whether `none` may stand for the whole section."""
    return name == "rope"


def without(node: Node, path: tuple[Any, ...]) -> Node:
    """The node less what stands at a path."""
    if not path:
        return Node({}, node.at)
    first, *rest = path
    if node.mapping is None or first not in node.mapping:
        return node
    entries = dict(node.mapping)
    if rest and entries[first].mapping is not None:
        entries[first] = without(entries[first], tuple(rest))
    else:
        del entries[first]
    return Node(entries, node.at, node.flow, node.key_at)


def with_kind(node: Node, kind: Node) -> Node:
    return Node({"kind": kind, **(node.mapping or {})}, node.at, node.flow, node.key_at)


def typed(language: type[Section], top: Top) -> Any:
    """The typed spec of merged sections in which no choice is left to the config."""
    return _Typed({}, {}, language).of(top)


class _Typed:
    """Typed specs under one outcome of every choice."""

    def __init__(
        self, outcomes: Mapping[Any, Any], splits: Mapping[Any, Split], language: type[Section] = Spec
    ) -> None:
        self.outcomes, self.splits, self.language = outcomes, splits, language
        self.sections: dict[tuple[str, int], Any] = {}

    def of(self, top: Top) -> Any:
        return self.language(**{name: self.value(name, node) for name, node in top.items()})

    def value(self, name: str, node: Node) -> Any:
        at = (name, id(node))
        if at not in self.sections:
            self.sections[at] = self._value(name, node)
        return self.sections[at]

    def _value(self, name: str, node: Node) -> Any:
        if name == "why":
            return node.value
        key = keys(self.language)[name]
        if key.type == "kinds":
            return self.kinded(key, node)
        if key.type == "named":
            return {part: self.kinded(key, child) for part, child in (node.mapping or {}).items()}
        return build.value(key, node, self.chosen)

    def kinded(self, key: Key, node: Node) -> Section:
        assert key.kinds is not None and node.mapping is not None
        return build.build(key.kinds[node.mapping["kind"].value], without(node, ("kind",)), self.chosen)

    def chosen(self, key: Key, node: Node) -> Any:
        at = (build.expression(key, node).text, key.words)
        outcome = self.outcomes[at]
        return key.words[int(outcome)] if key.truth else outcome
