"""One spec before and after a change: what of it differs."""

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from codegen.errors import SpecError
from codegen.explain.explaining import Subject, subject
from codegen.frozen import Frozen
from codegen.generate import plan_any
from codegen.language.spec import ROLE_NAMES
from codegen.places import places
from codegen.render.picture import mermaid
from codegen.review.facts import Fact, Said, facts, written
from codegen.review.pairs import Pair
from codegen.review.tensors import Stored, stored

NAMES = ("checkpoint.names.", "checkpoint.vision.names.")


class Side(Frozen):
    """A spec in one of two trees, with its plan."""

    subject: Subject
    features: tuple[str, ...]
    picture: str
    stored: Stored


class Renamed(Frozen):
    """A tensor that lies under another name."""

    before: str
    after: str


class Comparison(Frozen):
    """What differs. `unread`: why the spec of the base cannot be compared with."""

    pair: Pair
    before: Side | None = None
    after: Side | None = None
    unread: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    renamed: tuple[Renamed, ...] = ()
    gone: tuple[str, ...] = ()
    come: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()  # names in a config.json of the base that mean this model no longer
    reshaped: Mapping[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])

    @property
    def round_trips(self) -> bool:
        """Whether checkpoints of the base hold what the model reads, and in these shapes."""
        return not (self.renamed or self.gone or self.come or self.retired or self.reshaped or self.steadied)

    @property
    def steadied(self) -> tuple[tuple[str, bool], ...]:
        """Tensors that only some configs had and all have, or the other way round: whether it is all now."""
        if self.before is None or self.after is None:
            return ()
        old, new = self.before.stored.tensors, self.after.stored.tensors
        return tuple((name, new[name]) for name in old if name in new and old[name] != new[name])


def compared(pair: Pair, base: Path, root: Path) -> Comparison:
    """One pair. Raises SpecError where the newer spec is wrong."""
    after = _side(pair.after, root)
    try:
        before = _side(pair.before, base)
    except SpecError as error:
        return Comparison(pair, None, after, tuple(map(str, error.problems)))
    if before is None or after is None:
        only = after or before
        return Comparison(pair, before, after, facts=tuple(written(only.subject)) if only else ())
    found = tuple(facts(before.subject, after.subject))
    old, new = before.stored.tensors.keys(), after.stored.tensors.keys()
    renamed = tuple(_renamed(found, old - new, new - old))
    gone = old - new - {one.before for one in renamed}
    come = new - old - {one.after for one in renamed}
    return Comparison(
        pair,
        before,
        after,
        facts=found,
        renamed=renamed,
        gone=tuple(sorted(gone)),
        come=tuple(sorted(come)),
        retired=tuple(name for name in _published(before) if name not in _published(after)),
        reshaped=dict(_reshaped(before.stored, after.stored)),
    )


def _published(side: Side) -> tuple[str, ...]:
    """By which names a config.json means the model."""
    spec = side.subject.spec
    return (*spec.architectures, spec.config.model_type)


def _side(name: str | None, root: Path) -> Side | None:
    if name is None:
        return None
    about = subject(name, root)
    plan = plan_any(about.spec, places(str(root)))
    return Side(about, plan.features, mermaid(plan.model.picture), stored(about.spec))


def _renamed(changes: tuple[Fact, ...], gone: set[str], come: set[str]) -> Iterator[Renamed]:
    """Tensors that changed their name as `checkpoint.names` did."""
    names = [(_name(one, one.before), _name(one, one.after)) for one in changes if one.key.startswith(NAMES)]
    for tensor in sorted(gone):
        other = tensor
        for old, new in names:
            other = f".{other}.".replace(f".{old}.", f".{new}." if new else ".").strip(".")
        if other in come:
            yield Renamed(tensor, other)


def _name(fact: Fact, said: Said) -> str:
    """The name of a role on disk, which is Llama's where none is written."""
    role = fact.key.rpartition(".")[2]
    return ROLE_NAMES.get(role, role) if said.note else said.value.strip('"')


def _reshaped(before: Stored, after: Stored) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Numbers that differ, of keys that both have."""
    for path, numbers in before.sides.items():
        others = after.sides.get(path, numbers)
        if numbers != others:
            yield path, (_one(numbers), _one(others))


def _one(numbers: tuple[Any, ...]) -> Any:
    return numbers[0] if len(numbers) == 1 else numbers
