"""How a recipe says what is wrong with it."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub.errors import StrictDataclassError

# What transformers, torch and peft raise for a value that does not fit; anything else keeps its traceback.
SAID_BY_OTHERS = (OSError, ValueError, TypeError, ImportError, KeyError, NotImplementedError, StrictDataclassError)

Result = TypeVar("Result")


class RecipeError(ValueError):
    """A mistake in a recipe or in an override. Each line of the message names the key, what is wrong and the cure."""


def close_match(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known name, or nothing."""
    return "".join(f"; did you mean '{match}'?" for match in get_close_matches(name, list(known), 1))


def near_file(path: Path) -> str:
    """`close_match` among what lies in the path's folder."""
    beside = path.parent
    return close_match(path.name, (entry.name for entry in beside.iterdir())) if beside.is_dir() else ""


def unknown(where: str, names: Iterable[Any], known: Iterable[str], owner: str) -> list[str]:
    """One line for each name that the owner does not have."""
    known = sorted(known)
    return [f"{where}.{n}: {owner} has no such field{close_match(str(n), known)}" for n in names if n not in known]


def refuse(mistakes: Iterable[str]) -> None:
    """Raises RecipeError where there are any."""
    if lines := list(mistakes):
        raise RecipeError("\n".join(lines))


def all_of(*checks: Callable[[], Result]) -> list[Result]:
    """The results of all checks.

    Raises:
        RecipeError: with the lines of every check that raised one.
    """
    results, mistakes = [], []
    for check in checks:
        try:
            results.append(check())
        except RecipeError as error:
            mistakes.append(str(error))
    refuse(mistakes)
    return results


@contextmanager
def naming(where: str, fields: dict[str, Any]) -> Iterator[None]:
    """Within, what a library says against the values of a section becomes a RecipeError that names the section, and a
    file that is missing one that names its field."""
    try:
        yield
    except RecipeError:
        raise
    except SAID_BY_OTHERS as error:
        text = _said(error)
        field = re.match(r"\w*", text)[0]  # some begin with the field
        place = f"{where}." if field in fields and text[len(field) : len(field) + 1] in (":", ".") else f"{where}: "
        raise RecipeError(_missing_file(where, fields, error) or place + text) from error


def _missing_file(where: str, fields: dict[str, Any], error: Exception) -> str | None:
    name = getattr(error, "filename", None)
    field = next((key for key, value in fields.items() if name is not None and str(value) == str(name)), None)
    if field is None:
        return None
    return f"{where}.{field}: {name}: {error.strerror}{near_file(Path(name))}"  # type: ignore[attr-defined]


def _said(error: Exception) -> str:
    """With the kind of error, and on one line, where it is not written for a reader."""
    if "trust_remote_code=True" in str(error):
        return "brings Python files of its own: say --trust-remote-code on the command line to run them"
    if isinstance(error, ValueError):
        return "\n".join(line.strip() for line in str(error).splitlines() if line.strip())
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
