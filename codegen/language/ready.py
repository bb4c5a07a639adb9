"""What a spec uses that has no template yet."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

from codegen.language.keys import Key, Section, keys
from codegen.language.spec import READY_KINDS, Spec


def unready(specs: Iterable[Spec]) -> tuple[str, ...]:
    """Dotted keys, and words as `key: word`, in the order of the language."""
    found: dict[str, None] = {}
    for spec in specs:
        for name, key in keys(Spec).items():
            for entry in _entries(name, key, getattr(spec, name)):
                found.setdefault(entry)
    return tuple(found)


def _entries(path: str, key: Key, value: Any) -> Iterator[str]:
    if value is None:
        return
    if not key.ready:
        yield path
    elif key.type == "choice" and value in key.unready_words:
        yield f"{path}: {value}"
    elif key.type == "kinds":
        yield from _kinded(path, path, key, value)
    elif key.type == "named":
        for name, part in value.items():
            yield from _kinded(f"{path}.{name}", path, key, part)
    elif key.section is not None:
        yield from _section(path, value)


def _kinded(path: str, slot: str, key: Key, value: Section) -> Iterator[str]:
    assert key.kinds is not None
    kind = next(name for name, cls in key.kinds.items() if cls is type(value))
    if kind not in READY_KINDS[slot]:
        yield f"{path}.kind: {kind}"
    else:
        yield from _section(path, value)


def _section(path: str, value: Section) -> Iterator[str]:
    for item in fields(value):
        if "key" in item.metadata:
            name = item.name.rstrip("_")
            yield from _entries(f"{path}.{name}", item.metadata["key"], getattr(value, item.name))
