"""The text of a spec file as a tree of nodes that know where they stand.

A small, strict subset of YAML: one document of mappings, lists and scalars. No anchors, aliases or tags, no key twice,
no control or bidirectional characters. Only `true`, `false`, `null`, decimal integers and floats are no strings, so
`on`, `1_000` and `12:30` stay what they look like and `1e-6` is a number.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn

from codegen.errors import Location, Problem, SpecError, cut, dotted, shown

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
Scalar = str | int | float | bool | None

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, Scalar] = {"true": True, "True": True, "false": False, "False": False, "null": None, "~": None}
_SUBSCRIPT = re.compile(r"[^\s{}\[\],:\"'][^{}\[\],:\"']*\[[^{}\[\]\"']*\][^{}\[\],\"']*")
QUOTE = "inside {} or [] an expression with [ ] { } , or ': ' must be quoted"


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """A value of the file: a mapping of nodes, a tuple of nodes, or a scalar."""

    value: Any
    at: Location
    flow: bool = False  # an unquoted scalar inside {} or []
    key_at: Mapping[Any, Location] = field(default_factory=dict[Any, Location])

    @property
    def mapping(self) -> dict[Any, "Node"] | None:
        """The entries, or None where this is no mapping."""
        value: Any = self.value
        return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]

    @property
    def items(self) -> tuple["Node", ...] | None:
        """The elements, or None where this is no list."""
        value: Any = self.value
        return value if isinstance(value, tuple) else None  # pyright: ignore[reportUnknownVariableType]

    def plain(self) -> Any:
        """The value without locations: dicts, lists and scalars."""
        if self.mapping is not None:
            return {name: node.plain() for name, node in self.mapping.items()}
        if self.items is not None:
            return [node.plain() for node in self.items]
        return self.value

    def find(self, path: tuple[Any, ...], key: bool = False) -> Location:
        """Where the node at a path stands, or the deepest one above it that exists; with `key` where its key stands."""
        node = self
        for position, part in enumerate(path):
            if node.mapping is not None and part in node.mapping:
                if key and position == len(path) - 1 and part in node.key_at:
                    return node.key_at[part]
                node = node.mapping[part]
            elif node.items is not None and isinstance(part, int) and part < len(node.items):
                node = node.items[part]
            else:
                return node.at
        return node.at


def load(text: str | bytes, file: str) -> Node:
    """The file's root mapping.

    Raises:
        SpecError: where the text is no YAML of the accepted kind, with its place and the cure.
    """
    text = _decoded(text, file).replace("\r\n", "\n")
    if hidden := _HIDDEN.search(text):
        before = text[: hidden.start()]
        at = Location(file, before.count("\n") + 1, hidden.start() - (before.rfind("\n") + 1) + 1)
        _refuse(at, f"hidden character U+{ord(hidden[0]):04X}", "remove it")
    return _Reader(text, file).document()


def _decoded(text: str | bytes, file: str) -> str:
    size = len(text)
    if size > MAX_BYTES:
        _refuse(Location(file, 1, 1), f"the file has {size} bytes, more than {MAX_BYTES}", "a spec has about ten lines")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        _refuse(Location(file, line, 1), "the file is not UTF-8", "save it as UTF-8")


def _refuse(at: Location, message: str, cure: str, path: str = "file") -> NoReturn:
    raise SpecError([Problem(at, path, message, cure)])


class _Reader:
    """Recursive descent over the events of PyYAML's parser (libyaml where it is installed)."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.events = self._events()
        self.path: list[str] = []  # of the node that is being read

    def _events(self) -> Iterator[Any]:
        yaml = _yaml()
        try:
            yield from yaml.parse(self.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            self._translate(error)

    def _translate(self, error: Any) -> NoReturn:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        at = self.at(mark) if mark is not None else Location(self.file, 1, 1)
        problem = getattr(error, "problem", None) or "no valid YAML"
        line = "".join(self.text.split("\n")[at.line - 1 : at.line])
        if (found := _unquoted(line)) is not None:
            start, expression = found
            _refuse(Location(self.file, at.line, start + 1), QUOTE, f'write "{expression}"')
        cure = "quote the value" if "mapping values" in problem else "a spec is lines of `key: value`"
        _refuse(at, f"no valid YAML: {problem}", cure)

    def refuse(self, at: Location, message: str, cure: str) -> NoReturn:
        """Refuse what stands at the node that is being read."""
        _refuse(at, message, cure, ".".join(self.path) or "file")

    def at(self, mark: Any) -> Location:
        return Location(self.file, mark.line + 1, mark.column + 1)

    def document(self) -> Node:
        kinds = _yaml()
        next(self.events)  # stream start
        event = next(self.events)
        if isinstance(event, kinds.StreamEndEvent):
            _refuse(Location(self.file, 1, 1), "the file is empty", "write at least `name: <name of the file>`")
        root = self.node(next(self.events), 0, False)
        next(self.events)  # document end
        event = next(self.events)
        if not isinstance(event, kinds.StreamEndEvent):
            _refuse(self.at(event.start_mark), "a second document", "one file holds one spec")
        if root.mapping is None:
            _refuse(root.at, "a spec is a mapping", "write `name: <name of the file>` first")
        return root

    def node(self, event: Any, depth: int, flow: bool) -> Node:
        kinds = _yaml()
        at = self.at(event.start_mark)
        if isinstance(event, kinds.AliasEvent):
            self.refuse(at, f"alias *{cut(event.anchor)}", "write the value out")
        if event.anchor is not None:
            self.refuse(at, f"anchor &{cut(event.anchor)}", "remove it; aliases are not read")
        if event.tag is not None:
            self.refuse(at, f"tag {cut(event.tag)}", "remove it")
        if depth > MAX_DEPTH:
            self.refuse(at, f"nested more than {MAX_DEPTH} levels deep", "a spec needs about five")
        if isinstance(event, kinds.MappingStartEvent):
            return self.entries(event, depth, flow or bool(event.flow_style))
        if isinstance(event, kinds.SequenceStartEvent):
            return self.elements(event, depth, flow or bool(event.flow_style))
        return self.scalar(event, at, flow)

    def entries(self, event: Any, depth: int, flow: bool) -> Node:
        kinds = _yaml()
        found: dict[Any, Node] = {}
        places: dict[Any, Location] = {}
        while not isinstance(head := next(self.events), kinds.MappingEndEvent):
            name = self.node(head, depth + 1, flow)
            if not isinstance(name.value, str | int):
                self.refuse(name.at, "a key must be a word or an integer", QUOTE if flow else "write a word")
            if name.value in found:
                line = places[name.value].line
                self.refuse(name.at, f"key {shown(name.value)} stands here twice", f"the first is in line {line}")
            places[name.value] = name.at
            self.path.append(dotted(name.value))
            found[name.value] = self.node(next(self.events), depth + 1, flow)
            self.path.pop()
        return Node(found, self.at(event.start_mark), flow, places)

    def elements(self, event: Any, depth: int, flow: bool) -> Node:
        kinds = _yaml()
        found: list[Node] = []
        while not isinstance(head := next(self.events), kinds.SequenceEndEvent):
            found.append(self.node(head, depth + 1, flow))
        return Node(tuple(found), self.at(event.start_mark), flow)

    def scalar(self, event: Any, at: Location, flow: bool) -> Node:
        text: str = event.value
        if hidden := _HIDDEN.search(text):
            self.refuse(at, f"hidden character U+{ord(hidden[0]):04X}", "remove it")
        if event.style:
            return Node(" ".join(text.split()) if "\n" in text or "\t" in text else text, at)
        if not text:
            cure = f"write {{}}, none or a value ({QUOTE})" if flow else "write {} or none"
            self.refuse(at, "a key without a value", cure)
        return Node(_resolved(text), at, flow)


def _resolved(text: str) -> Scalar:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not text.lstrip("+-").isdigit():
        number = float(text)
        return text if number in (float("inf"), float("-inf")) else number
    return " ".join(text.split()) if "\n" in text or "\t" in text else text


def _unquoted(line: str) -> tuple[int, str] | None:
    """Column and text of an unquoted expression with a subscript inside {} or []."""
    for match in _SUBSCRIPT.finditer(line):
        before = line[: match.start()]
        if "{" in before or "[" in before:
            return match.start(), match[0].strip()
    return None


@cache
def _yaml() -> Any:
    """PyYAML, imported on first use: a run that changes nothing reads no spec."""
    import yaml

    return yaml
