"""Tables appended to a pyproject.toml, whose other bytes stay."""

import re
import tomllib
from typing import Any, cast

from codegen.errors import CodegenError
from codegen.layout import PROJECT

GROUP = "nemo_automodel.registries"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def parsed(text: str) -> dict[str, Any]:
    """The file as tables. Raises CodegenError where it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CodegenError(f"{PROJECT}: {error}; correct it first") from error


def with_table(text: str, path: tuple[str, ...], values: dict[str, str | bool]) -> str:
    """The text with one more table at its end.

    Raises:
        CodegenError: the file has it already, or something in the way of it.
    """
    header = ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in path)
    lines = [f"[{header}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    newline = "\r\n" if "\r\n" in text else "\n"
    made = text + (gap + "\n".join(lines) + "\n").replace("\n", newline)
    if _without(made, path, values) != parsed(text):
        raise CodegenError(f"{PROJECT}: [{header}] cannot be appended to it; write it by hand:\n" + "\n".join(lines))
    return made


def _without(text: str, path: tuple[str, ...], values: dict[str, str | bool]) -> dict[str, Any] | None:
    """The tables without the one at `path`, nor those above it that are empty then; None where it is not as given."""
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None
    above = [whole]
    for part in path[:-1]:
        above.append(cast("dict[str, Any]", above[-1][part]))
    if above[-1].pop(path[-1]) != values:
        return None
    for table, part in zip(reversed(above[:-1]), reversed(path[:-1]), strict=True):
        if not table[part]:
            del table[part]
    return whole


def _value(value: str | bool) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
