"""Which fields of a config hold a number that a shape shows."""

from collections.abc import Iterator
from typing import Any

from codegen.frozen import Frozen
from codegen.language.chains import candidate
from codegen.language.keys import keys
from codegen.language.spec import Spec
from codegen.new.values import Values

# Fields of every attention and MLP: others that hold the same number go first.
_USUAL = ("head_dim", "num_attention_heads", "num_key_value_heads", "hidden_size", "intermediate_size")
_OTHERS = ("conv", "kernel", "rope", "rank")  # in names of fields that hold other sizes


class Numbers(Frozen):
    """Looks up the numbers of a mixer that is no attention."""

    values: Values

    def field(self, number: int | None, *words: str) -> Any:
        """The field that holds a number, by its name where there are several; the number itself where none does."""
        found = next(self.fields(number, words), None)
        return number if found is None else f"config.{found}"

    def fields(self, number: int | None, words: tuple[str, ...]) -> Iterator[str]:
        """Fields that hold a number, the likeliest first; without a number, those whose names have all words."""
        held = [name for name in self.values.config.fields if type(self.values.get(name)) is int]
        some = [name for name in held if self.values.get(name) == number and any(word in name for word in words)]
        unknown = [name for name in held if number is None and all(word in name for word in words)]
        return iter(sorted(some or unknown, key=lambda name: (name in _USUAL, -_said(name, words))))

    def pair(self, number: int | None, first: tuple[str, ...], second: tuple[str, ...]) -> tuple[Any, Any]:
        """Two fields whose product is a number: those whose names say most of what they are, and begin alike."""
        held = [name for name in self.values.config.fields if type(self.values.get(name)) is int]
        several = [name for name in held if not any(word in name for word in _OTHERS)]
        pairs = [
            (one, other)
            for one in several
            for other in several
            if one != other
            and _said(one, first)
            and _said(other, second)
            and number in (None, self.values.get(one) * self.values.get(other))
        ]
        best = max(pairs, key=lambda two: _likely(two, first, second), default=None)
        return (None, None) if best is None else (f"config.{best[0]}", f"config.{best[1]}")

    def flag(self, there: bool, default: bool, *words: str, without: tuple[str, ...] = ()) -> Any:
        """The field that says what is there; nothing where that is the default anyway."""
        fields = [
            name
            for name in self.values.config.fields
            if self.values.get(name) is there
            and all(word in name for word in words)
            and not any(word in name for word in without)
        ]
        if fields:
            return f"config.{min(fields, key=lambda name: len(name))}"
        return None if there is default else there

    def bounds(self, word: str) -> str | None:
        """The field that holds two numbers, by its name."""
        fields = [name for name in self.values.config.fields if word in name]
        return next((f"config.{name}" for name in fields if isinstance(self.values.get(name), list | tuple)), None)

    def unless_default(self, kind: str, key: str, number: int | None, *words: str) -> dict[str, Any]:
        """A key of a mixer, where no field holds it that is known for it."""
        section = (keys(Spec)["attention"].kinds or {})[kind]
        default = candidate(keys(section)[key].chain, self.values.config)
        return {} if default is not None else {key: self.field(number, *words)}


def _said(name: str, words: tuple[str, ...]) -> int:
    return sum(word in name for word in words)


def _likely(two: tuple[str, str], first: tuple[str, ...], second: tuple[str, ...]) -> tuple[bool, int]:
    one, other = two
    alike = one.split("_")[0] == other.split("_")[0]
    return not {one, other} & {*_USUAL}, alike + _said(one, first) + _said(other, second)
