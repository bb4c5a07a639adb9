"""Whether a value from YAML is of the type that a field declares: most libraries find out only in the midst of work."""

from collections.abc import Callable, Iterator
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nemo_automodel.recipes.mistakes import close_match

WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "text", NoneType: "null"}


def misfits(where: str, fields: dict[str, Any], owner: Callable[..., Any]) -> Iterator[str]:
    """One line for each field whose value is not of the type, or none of the choices, that the owner declares."""
    has_fields = is_dataclass(owner)
    hints = get_type_hints(owner if has_fields or not isinstance(owner, type) else owner.__init__)
    choices = (
        {field.name: list(field.metadata.get("choices") or ()) for field in dataclass_fields(owner)}
        if has_fields
        else {}
    )
    for name, value in fields.items():
        options, words = list(_options(hints.get(name, Any))), choices.get(name)
        if not any(_fits(value, option) for option in options):
            yield f"{where}.{name}: expected {_expected(value, options)}, got {value!r:.80}"
        elif words and value not in words:
            yield f"{where}.{name}: expected {_one_of(value, words)}, got {value!r:.80}"


def _options(hint: Any) -> Iterator[Any]:
    """The types that a hint offers. Text beside an enumeration means the enumeration's words."""
    if get_origin(hint) not in (Union, UnionType):
        yield hint
        return
    options = [inner for option in get_args(hint) for inner in _options(option)]
    words = any(_is_enum(option) for option in options)
    yield from (option for option in options if not (words and option is str))


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _fits(value: Any, hint: Any) -> bool:
    kind = get_origin(hint) or hint
    if kind is Any or isinstance(kind, TypeVar):
        return True
    if kind is Literal:
        return value in get_args(hint)
    if _is_enum(kind):
        return value in [member.value for member in kind]
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in (list, tuple):
        return isinstance(value, list) and all(_fits_any(item, get_args(hint)) for item in value)
    return isinstance(value, kind)


def _fits_any(value: Any, hints: tuple[Any, ...]) -> bool:
    options = [option for hint in hints if hint is not ... for option in _options(hint)]
    return not options or any(_fits(value, option) for option in options)


def _expected(value: Any, options: list[Any]) -> str:
    words = [member.value for option in options if _is_enum(option) for member in option]
    if words:
        return _one_of(value, words)
    return " or ".join(WORDS.get(option, getattr(get_origin(option) or option, "__name__", "")) for option in options)


def _one_of(value: Any, words: list[Any]) -> str:
    words = [str(word) for word in words]
    return f"one of {', '.join(words)}{close_match(str(value), words)}"
