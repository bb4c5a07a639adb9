"""What a change of a spec says otherwise: each key with the line that the language has about it."""

from collections.abc import Iterator
from typing import Any, cast

from codegen.errors import CodegenError
from codegen.explain.explaining import Subject, leaves
from codegen.explain.flips import get
from codegen.frozen import Frozen
from codegen.language.bare import bare_key
from codegen.language.flow import flow
from codegen.language.spec import WIRINGS
from codegen.meaning import Path as Keys

ABOUT = ("name", "summary", "docs", "tests")  # what a spec says beside the model
SECTIONS = ("rope", "attention", "mlp")
THERE = ("router", "experts")  # sections that mean something where they are not written


class Said(Frozen):
    """What a key holds, and what is to be said of that."""

    value: str = ""
    note: str = ""


class Fact(Frozen):
    """A key of the language, its documentation, and what it held before and holds now."""

    key: str
    doc: str
    before: Said
    after: Said


def facts(before: Subject, after: Subject) -> Iterator[Fact]:
    """Everything that is written otherwise, in the order of the newer file, then what is gone."""
    old, new = _written(before), _written(after)
    for path in dict.fromkeys((*new, *old)):
        if old.get(path) != new.get(path):
            doc = _doc(after, path) or _doc(before, path)
            yield Fact(".".join(map(str, path)), doc, _said(before, old, path), _said(after, new, path))


def written(subject: Subject) -> Iterator[Fact]:
    """Everything that a spec writes of the model."""
    for path, value in _written(subject).items():
        if path[0] in ABOUT:
            continue
        yield Fact(".".join(map(str, path)), _doc(subject, path), Said(), Said(value))


def _written(subject: Subject) -> dict[Keys, str]:
    """What is written at each path, with bare words under the keys that they stand for."""
    found: dict[Keys, str] = {}
    for path, value in leaves((), subject.node.plain()):
        for inner, part in _of_config(value).items() if path == ("config",) else [((), value)]:
            found[(*_full(subject, path, value), *inner)] = _shown(path, part)
    return found


def _of_config(value: Any) -> dict[Keys, Any]:
    """A config class of the spec's own, without its fields, which are told one by one."""
    if not isinstance(value, dict):
        return {(): value}
    return {(name,): part for name, part in cast("dict[str, Any]", value).items() if name != "fields"}


def _full(subject: Subject, path: Keys, value: Any) -> Keys:
    """`mlp: plain` is `mlp.kind: plain`."""
    if not isinstance(value, str) or value == "none":
        return path
    key = subject.meaning(path).key
    if key is None or key.type == "projection" or (key.kinds is None and key.section is None):
        return path
    return (*path, bare_key(path[-1], subject.declared))


def _shown(path: Keys, value: Any) -> str:
    """As a spec has it; a named wiring with its equations."""
    if path[-1] == "block" and isinstance(value, str) and value in WIRINGS:
        return f"{value}: {'; '.join(WIRINGS[value])}"
    return flow(value)


def _doc(subject: Subject, path: Keys) -> str:
    try:
        return subject.meaning(path).doc
    except CodegenError:
        return ""


def _said(subject: Subject, written: dict[Keys, str], path: Keys) -> Said:
    """What is written there; else what is taken for it."""
    if path in written:
        return Said(written[path])
    if get(subject.node.plain(), path) is not None:
        return Said(flow(get(subject.node.plain(), path)))
    if _is_absent(subject, path):
        return Said(note="absent")
    try:
        taken = subject.meaning(path).taken(subject.config)
    except CodegenError:
        return Said(note="no such key")  # another kind stands there
    return Said(note="not written") if taken is None else Said(taken, "by default")


def _is_absent(subject: Subject, path: Keys) -> bool:
    """Whether what has the key is not there at all, as shared experts that no layer has."""
    here: Any = next(iter(subject.texts()), None)
    for part in path[:-1]:
        here = getattr(here, str(part), None) if here is not None else None
        if here is None and part in THERE:
            return False
    return here is None and path[0] in SECTIONS
