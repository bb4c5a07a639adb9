"""Every axis of the spec language and its values, for programs: schema, reference page, mutations, drafts."""

from collections.abc import Iterator
from typing import Any

from codegen.frozen import Frozen
from codegen.language.keys import Key, Section, SectionClass, keys
from codegen.language.spec import READY_KINDS, Spec


class Axis(Frozen):
    """One key of the language.

    `path` names it from the top: `("mlp", "moe", "router")`; a section with a class per kind has the kind as a
    step, and an axis of its own for the choice of the kind. `ready` says whether all of it has a template.
    """

    path: tuple[str, ...]
    type: str
    words: tuple[Any, ...]
    default: str | None
    doc: str
    ready: bool
    unready_words: tuple[Any, ...] = ()
    owner: SectionClass = Spec

    @property
    def name(self) -> str:
        return self.path[-1]


def axes() -> Iterator[Axis]:
    """All axes, in the order of the language; shared sections appear in each place where they may stand."""
    for name, key in keys(Spec).items():
        yield from _axes((name,), key, Spec, True)


def axis(*path: str) -> Axis:
    """The axis at a path.

    Raises:
        KeyError: where there is none.
    """
    for found in axes():
        if found.path == path:
            return found
    raise KeyError(".".join(path))


def default(key: Key) -> str | None:
    """What an unwritten key means, as text: a word, or the fields that are tried in turn."""
    if key.chain:
        return ", else ".join(key.chain)
    if key.type == "choice":
        return str(key.words[0])
    return key.default


def _axes(path: tuple[str, ...], key: Key, owner: type[Section], ready: bool) -> Iterator[Axis]:
    ready = ready and key.ready
    if key.kinds is not None:
        yield from _kinds(path, key, owner, ready)
        return
    yield Axis(path, key.type, key.words, default(key), key.doc, ready, key.unready_words, owner)
    if key.section is not None:
        for name, inner in keys(key.section).items():
            yield from _axes((*path, name), inner, key.section, ready)


def _kinds(path: tuple[str, ...], key: Key, owner: type[Section], ready: bool) -> Iterator[Axis]:
    assert key.kinds is not None
    unready = tuple(kind for kind in key.kinds if kind not in READY_KINDS[path[0]])
    yield Axis((*path, "kind"), "choice", tuple(key.kinds), key.default, key.doc, ready, unready, owner)
    for kind, cls in key.kinds.items():
        for name, inner in keys(cls).items():
            if name != "kind":
                yield from _axes((*path, kind, name), inner, cls, ready and kind not in unready)
