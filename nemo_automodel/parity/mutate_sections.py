"""What the language of text offers beside what a spec says: every key that it leaves at its default, set otherwise."""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.language.attention import Norm, QKNorm
from codegen.language.keys import Key, Section, keys
from codegen.language.spec import WIRINGS, Spec
from codegen.language.values import Expression
from nemo_automodel.parity.mutant import Data, Named, Path, Reader, dotted, flipped, other_words, put
from nemo_automodel.parity.mutate_text import equation_mutants, lines_of

EQUATIONS = ("input", "block", "output")
ABSENT: dict[str, Any] = {  # what an optional thing is set to where a spec has none
    **{"softcap": 0.7, "window": 4, "chunk": 6, "clip": 0.5, "limit": 0.5, "alpha": 1.7, "theta": 500.0, "width": 2},
    **{"inner_norm": "inner_norm", "in": 4, "out": 4, "weight": False, "bias": True, "when": False},
}
NULLABLE = ("padding_idx",)


class Offers:
    """What the language offers beside what the spec says."""

    def __init__(self, data: Data, flat: Spec, reader: Reader) -> None:
        self.data, self.flat, self.reader = data, flat, reader

    def mutants(self) -> Named:
        yield from self._equations()
        for name in ("norm", "rope", "attention", "mlp", "head", "embedding", "dropout"):
            yield from self._section((name,), getattr(self.flat, name))
        if self.flat.rope is not None and "rope" not in self.data:
            yield "rope: none", put(self.data, ("rope",), "none")
        for slot in ("attention", "mlp"):
            for kind, section in (keys(Spec)[slot].kinds or {}).items():
                if section is type(getattr(self.flat, slot)):
                    continue
                yield f"{slot}.kind: {kind}", put(self.data, (slot,), kind)

    def _equations(self) -> Named:
        """Mutants of the equations that the spec leaves to a default or to a named wiring."""
        for name in EQUATIONS:
            written = self.data.get(name)
            if written is not None and not (isinstance(written, str) and written in WIRINGS):
                continue
            lines = lines_of(self.flat, name)
            for index, line in enumerate(lines):
                for done, other in equation_mutants(line):
                    yield f"{name}: {done}", put(self.data, (name,), [*lines[:index], other, *lines[index + 1 :]])
                if len(lines) > 1:
                    yield f"{name}: drop {line}", put(self.data, (name,), lines[:index] + lines[index + 1 :])
            if name == "block":
                others = [name for name in WIRINGS if name != (written or "pre_norm")]
                yield from ((f"block: {name}", put(self.data, ("block",), name)) for name in others)

    def _section(self, path: Path, section: Section | None) -> Named:
        """Every key of a section that is not written."""
        if section is None:
            return
        for name, key in keys(type(section)).items():
            here = (*path, name)
            value = getattr(section, name if hasattr(section, name) else f"{name}_")
            if value is None and isinstance(section, Norm):
                value = getattr(self.flat.norm, name, None)  # what every norm inherits
            for other in self._alternatives(here, key, value):
                yield f"{dotted(here)}: {other}", put(self.data, here, other)
            if key.type == "section" and key.section is not None:
                inner = value if value is not None else key.section()
                if value is not None or not issubclass(key.section, Norm | QKNorm):
                    yield from self._section(here, inner)

    def _alternatives(self, path: Path, key: Key, value: Any) -> Iterator[Any]:
        if key.type == "choice":
            yield from other_words(key, value)
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
        yield from flipped(value.text, self.reader.read(value))
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
            for other in flipped(current.text, self.reader.read(current)) if current is not None else [1.5]:
                yield {r: e.text for r, e in now.items() if e is not None and r != role} | {role: other}
