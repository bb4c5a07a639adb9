"""Changes of what a spec says, where it stands: keys deleted, values flipped."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any

from codegen.language.frame import FRAME
from codegen.language.keys import Section, keys
from codegen.language.spec import WIRINGS
from codegen.language.values import expression
from codegen.language.vision.sections import ImageTextSpec
from codegen.language.vision.tensors import FIELDS
from nemo_automodel.parity.mutant import Data, Named, Path, Reader, dotted, flipped, put
from nemo_automodel.parity.mutate_projector import projection_mutants
from nemo_automodel.parity.mutate_text import equation_mutants, expression_mutants

EQUATIONS = ("input", "block", "output")
Languages = Sequence[type[Section]]  # of which the first is asked first
SAID = ("why", "summary", "docs", "processor")  # words for people, and what tests alone read


def of_language(data: Data) -> Iterator[tuple[Path, Any]]:
    """Every key and every element below the frame, with its value."""

    def walk(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
        yield path, value
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            if key not in SAID:
                yield from walk((*path, key), child)

    for key, value in data.items():
        if key not in FRAME and key not in SAID:
            yield from walk((key,), value)


def deletions(data: Data) -> Named:
    for path, _ in of_language(data):
        mutant = deepcopy(data)
        parent = _at(mutant, path[:-1])
        del parent[path[-1]]
        if parent or len(path) == 1:
            yield f"delete {dotted(path)}", mutant


def flips(data: Data, reader: Reader, languages: Languages) -> Named:
    for path, value in of_language(data):
        for done, other in _others(path, value, reader, languages):
            yield f"{dotted(path)}: {done}", put(data, path, other)


def _others(path: Path, value: Any, reader: Reader, languages: Languages) -> Iterator[tuple[str, Any]]:
    """Other values for a written one."""
    if isinstance(value, bool):
        yield str(not value).lower(), not value
    elif isinstance(value, int | float):  # one more than ten thousand is within rounding
        other = value * 1.5 if isinstance(value, float) and value else value + 1
        yield f"{value} -> {other}", other
    elif isinstance(value, list) and len(value) > 1 and "fused" in path:
        yield "swap the first two", [value[1], value[0], *value[2:]]
    elif isinstance(value, str):
        yield from _other_texts(path, value, reader, languages)


def _other_texts(path: Path, value: str, reader: Reader, languages: Languages) -> Iterator[tuple[str, Any]]:
    key = next((part for part in reversed(path) if not isinstance(part, int)), "")
    wired = key in EQUATIONS and "vision" not in path
    if path[0] == "projector" and key == "projector":
        yield from _other_projections(value)
    elif wired and "=" in value:
        yield from equation_mutants(value)
    elif wired or value in WIRINGS:
        yield from ((f"{value} -> {other}", other) for other in WIRINGS if other != value)
    elif words := [words for words in _words(str(key), languages) if value in words]:
        yield from ((f"{value} -> {other}", other) for other in words[0] if other != value)
    elif value in FIELDS:
        other = next(name for name in FIELDS if name != value)
        yield f"{value} -> {other}", other
    elif "config." in value or "(" in value or "[" in value or value.lstrip("-").replace(".", "").isdigit():
        yield from _other_expressions(value, reader)
    elif value != "none":
        yield f"{value} -> {value}x", f"{value}x"
    else:
        yield "none -> its default", {} if key == "rope" else "config.pad_token_id"


def _other_projections(value: str) -> Iterator[tuple[str, Any]]:
    if value != "none":
        yield from projection_mutants(value)
        return
    yield "none -> its default", keys(ImageTextSpec)["projector"].default


def _other_expressions(value: str, reader: Reader) -> Iterator[tuple[str, Any]]:
    yield from expression_mutants(value)
    for other in ("none", *flipped(value, reader.read(expression(value)))):
        yield f"{value} -> {other}", other


def _words(name: str, languages: Languages) -> list[tuple[Any, ...]]:
    """The word lists of every key of that name in the language."""
    lists: list[tuple[Any, ...]] = []

    def walk(section: type[Section]) -> None:
        for key_name, key in keys(section).items():
            if key_name == name and key.words:
                lists.append(key.words)
            if key.kinds and key_name in (name, "attention", "mlp"):
                lists.append(tuple(key.kinds))
            for inner in (*filter(None, (key.section,)), *(key.kinds or {}).values()):
                walk(inner)

    for language in languages:
        walk(language)
    return lists


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data
