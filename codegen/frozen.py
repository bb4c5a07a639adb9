"""Frozen dataclasses whose methods are inherited. Python takes half a millisecond to generate those of one class, and
a changed spec would wait for fifty."""

from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, ClassVar, dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
@dataclass(init=False, repr=False, eq=False)
class Frozen:
    """A base class: each subclass is a frozen dataclass, which compares, hashes and shows its fields."""

    _declared: ClassVar[tuple[Field[Any], ...]] = ()
    _places: ClassVar[tuple[str, ...]] = ()  # of values by position
    _compared: ClassVar["attrgetter[Any]"] = attrgetter("__class__")

    def __init_subclass__(cls, *, kw_only: bool = False) -> None:
        dataclass(init=False, repr=False, eq=False, match_args=False, kw_only=kw_only)(cls)
        cls._declared = fields(cls)
        cls._places = tuple(one.name for one in cls._declared if not one.kw_only)
        cls._compared = attrgetter("__class__", *(one.name for one in cls._declared if one.compare))

    def __init__(self, *values: Any, **named: Any) -> None:
        declared, places, state = self._declared, self._places, vars(self)
        state.update(zip(places, values, strict=False))
        if len(values) > len(places) or state.keys() & named.keys():
            raise TypeError(f"{type(self).__name__} takes each of {', '.join(places)} once")
        state.update(named)
        for one in declared:
            if one.name not in state:
                state[one.name] = _default(self, one)
        if len(state) > len(declared):
            unknown = sorted(named.keys() - {one.name for one in declared})
            raise TypeError(f"{type(self).__name__} has no field {', '.join(unknown)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self._compared(self) == other._compared(other)

    def __hash__(self) -> int:
        return hash(self._compared(self))

    def __repr__(self) -> str:
        shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in self._declared if one.repr)
        return f"{type(self).__name__}({shown})"


def _default(instance: Any, one: Any) -> Any:
    if one.default is not MISSING:
        return one.default
    if one.default_factory is not MISSING:
        return one.default_factory()
    raise TypeError(f"{type(instance).__name__} needs {one.name}")
