"""What the language says about a dotted path of a spec."""

from collections.abc import Mapping
from typing import Any

from codegen.catalog import default
from codegen.configs import ConfigClass
from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.language.chains import candidate
from codegen.language.frame import FRAME
from codegen.language.keys import Key, Section, element, keys
from codegen.language.spec import Spec
from codegen.language.suggest import cure

Path = tuple[Any, ...]
OVERLAYS = {
    "variants": "Overlays that the config chooses once: {when: expression, ...} or {by: expression, kinds: {...}}.",
    "layers": "Overlays that each layer chooses: {when: expression, ...} or {by: expression, kinds: {...}}.",
}
_OVERLAY_KEYS = {
    "when": "The overlay applies where this is true.",
    "by": "The overlay under `kinds` that this value names applies.",
    "kinds": "Overlays by the value of `by`; kinds with a usual meaning need none.",
    "why": "Becomes the comment at this place of the generated code.",
}


class Meaning(Frozen):
    """A key of the language: `key` is None for the frame, overlays, and inside free data."""

    type: str
    doc: str
    key: Key | None = None

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(map(str, self.key.words)) if self.key is not None and self.key.type == "choice" else ()

    @property
    def default(self) -> str | None:
        return None if self.key is None else default(self.key)

    def taken(self, config: ConfigClass) -> str | None:
        """What the default comes to with a config class."""
        if self.key is None or not self.key.chain:
            return self.default
        return candidate(self.key.chain, config)


def meaning(path: Path, spec: Section) -> Meaning:
    """The meaning of a path; `spec` decides which kinds its sections have, and what sections there are.

    Raises:
        CodegenError: where the language has no such key.
    """
    first, *rest = path or ("",)
    if first in FRAME:
        return Meaning("frame", FRAME[first])
    overlays = OVERLAYS if isinstance(spec, Spec) else {}
    if first in overlays:
        return _overlay(path, spec)
    known = keys(type(spec))
    if first not in known:
        raise CodegenError(f"{first}: is no key of a spec; {cure(first, [*known, *FRAME, *overlays], 'keys')}")
    return _inside(known[first], getattr(spec, first), rest, first)


def plain(path: Path) -> Path:
    """A path inside an overlay, as the path in the spec that it lies on; () for the overlay itself."""
    if path[0] not in OVERLAYS:
        return path
    rest = path[2:] if len(path) > 1 and isinstance(path[1], int) else path[1:]
    rest = rest[2:] if rest[:1] == ("kinds",) else rest
    return () if rest and rest[0] in _OVERLAY_KEYS else rest


def _overlay(path: Path, spec: Section) -> Meaning:
    below = plain(path)
    if below:
        return meaning(below, spec)
    word = next((part for part in reversed(path) if part in _OVERLAY_KEYS), None)
    return Meaning("overlay", OVERLAYS[path[0]] if word is None else _OVERLAY_KEYS[word])


def _inside(key: Key, value: Any, rest: list[Any], at: str) -> Meaning:
    if not rest:
        return Meaning("kind" if key.type == "kinds" else key.type, key.doc, key)
    name = rest[0]
    if key.type == "named":
        parts: Mapping[str, Section] = value or {}
        if name not in parts:
            raise CodegenError(f"{at}.{name}: there is no such part; {cure(name, parts, 'parts')}")
        return _section(type(parts[name]), parts[name], rest[1:], f"{at}.{name}", key)
    if isinstance(name, int):  # one of several equations
        return Meaning(key.type, key.doc, key)
    if isinstance(value, Section) and key.type == "kinds":
        return _section(type(value), value, rest, at, key)
    if key.section is not None:
        return _section(key.section, value, rest, at, key)
    if key.type == "mapping" and key.words:
        return Meaning("expression", f"{key.doc} Here: {name}.", element(key))
    return Meaning(key.type, key.doc)


def _section(cls: type[Section], value: Any, rest: list[Any], at: str, key: Key) -> Meaning:
    if not rest or rest[0] == "kind" and key.kinds is not None:
        return Meaning("choice", key.doc, Key("choice", key.doc, words=tuple(key.kinds or ()), default=key.default))
    name = rest[0]
    if name == "why":
        return Meaning("text", _OVERLAY_KEYS["why"])
    known = keys(cls)
    if name not in known:
        raise CodegenError(f"{at}.{name}: is no key of {at}; {cure(name, known, 'keys')}")
    inner = getattr(value, "in_" if name == "in" else name, None) if value is not None else None
    return _inside(known[name], inner, rest[1:], f"{at}.{name}")
