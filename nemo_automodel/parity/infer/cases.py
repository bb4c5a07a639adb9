"""The configs on which candidates are judged, each with the reference's answers; more of them as candidates ask."""

import inspect
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from codegen.errors import CodegenError
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.infer.attending import DEFAULT
from nemo_automodel.parity.infer.budget import Budget
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.oracle import EXTREMES, Oracle, shapes
from nemo_automodel.parity.infer.variants import (
    COUNTS,
    Config,
    absent,
    changes,
    differing,
    dropouts,
    dropouts_beside,
    flags_at_once,
    freed,
    is_one_kind,
    key_of,
    listed,
    mended,
    merged,
    nearer,
    off,
    schedules,
    together,
)
from nemo_automodel.parity.subject import Subject

FEW = 3  # fields that say under what condition a model is another one


class Cases:
    """own: the published config. oracles: by the name of the case; the first is what the others are changes of.
    refused: what the reference cannot run. shows: for each field that was changed alone, whether that showed."""

    def __init__(self, subject: Subject, own: Config, budget: Budget) -> None:
        self.subject, self.own, self.budget = subject, own, budget
        self.oracles: dict[str, Oracle] = {}
        self.refused: list[str] = []
        self.shows: dict[str, bool] = {}
        self._known: dict[str, bool] = {}  # configs that were asked for, and whether the reference takes them
        self._strong = (
            False  # whether the first config varies what a spec reads, so that only the rest is to be changed
        )
        self._less: dict[str, bool] = {}  # changes, and whether they leave something out
        self._asked_again: set[str] = set()  # fields that showed nothing and were changed in another config
        self._listed: set[str] = set()  # fields of which a list for all layers was asked
        self._changed: list[Config] = []  # of single fields, that show
        self.are_apart = False  # whether attentions of the reference are two models, of which another is run
        self._taken: set[str] = set()  # fields of which the reference takes a change by itself, whatever that shows
        self._source = inspect.getsource(inspect.getmodule(subject.reference_class) or object)

    def restart(self, subject: Subject) -> None:
        """Forgets all configs: the reference is asked otherwise from now on."""
        self.subject, self._strong, self.are_apart = subject, False, False
        for known in (self.oracles, self.shows, self._known, self._less):
            known.clear()
        self.refused.clear()
        self._listed.clear()
        self._taken.clear()
        self._asked_again.clear()
        self._changed.clear()
        for made in ("_published", "_shapes"):
            vars(self).pop(made, None)

    @property
    def base(self) -> Oracle | None:
        return next(iter(self.oracles.values()), None)

    def vary(self, candidate: Candidate) -> bool:
        """Adds the configs that this candidate calls for; whether there is any that was not there."""
        before = len(self.oracles)
        try:
            wanted = candidate.configs()
        except CodegenError as error:
            self.refused.append(f"no configs: {str(error).splitlines()[0]}")
            return False
        kept = self.kept(candidate)
        for name, values in wanted.items():
            self.add(name, values, kept)
        if self.base is not None:
            if self.subject.takes_images:
                self._weigh(self.base)
            self._change_fields(candidate, self.base)
            self._change_many(candidate, self.base)
        return len(self.oracles) > before

    def change_alone(self, candidate: Candidate, values: Config) -> None:
        """One config, and each of its fields that may make another model changed alone."""
        if self.add("base", values) and self.base is not None:
            self._strong = False  # those that the candidate reads too
            self._change_fields(candidate, self.base)

    def kept(self, candidate: Candidate) -> Config:
        """The published numbers and flags that a candidate does not read: they may choose how a model is run."""
        fields = candidate.config.fields
        names = [name for name in candidate.unread() if isinstance(self.own.get(name), int)]
        return {name: self.own[name] for name in names if self.own[name] != fields[name]}

    def add(self, name: str, values: Config, kept: Config | None = None) -> bool:
        """Whether the reference takes a config, as it was published otherwise, by itself, or with what it lacks of the
        published one."""
        if any(self._add(name, one) for one in ({**(kept or {}), **values}, values)):
            self._strong |= name == "base"
            return True
        return any(self._add(name, other) for other in mended(values, self.own))

    def _weigh(self, base: Oracle) -> None:
        """The first config with other weights, at which what norms add and what activations end at shows."""
        for name in EXTREMES.keys() - self.oracles.keys():
            self.oracles[name] = Oracle(self.subject, base.values, short=True, make=EXTREMES[name])

    def _change_fields(self, candidate: Candidate, base: Oracle) -> None:
        """One field at a time."""
        held = base.reference.config.to_dict()
        alike = [name for name in candidate.structural() if is_one_kind(held.get(name))]  # read, but of one kind alone
        names = list(dict.fromkeys([*candidate.unvaried(), *alike])) if self._strong else candidate.structural()
        new = [name for name in names if name not in self.shows]
        self._change(base, changes(held, new, self._source))
        for name, change in listed(held, candidate.structural()):
            if name not in self._listed:
                self._listed.add(name)
                self._takes(name, base, change, "list")
        self._change(base, nearer(held, [name for name in new if not self.shows.get(name, True)]))
        refused = [name for name in new if not self.shows.get(name, True) and name not in self._taken]
        self._change(base, freed(held, refused, candidate.config.fields))
        others = [one for name in alike if (one := self.oracles.get(f"field_{name}")) is not None]
        flags = [name for name in names if isinstance(held.get(name), bool) and self.shows.get(name)]
        others += [one for name in flags if _lacks((one := self.oracles[f"field_{name}"]), base)]
        silent = [name for name in names if not self.shows.get(name, True) and name not in self._asked_again]
        self._asked_again.update(silent)
        for other in others:
            self._change_silent(base, other, [name for name in silent if not self.shows[name]])

    def _change_silent(self, base: Oracle, other: Oracle, silent: list[str]) -> None:
        """Of the first config a field may show nothing that is about parts which it does not have: it is changed again
        where a list of kinds of layers was mixed, or a flag put other parts in place of some."""
        read = [name for name in silent if re.search(rf"\.{re.escape(name)}\b", self._source)]
        held = other.reference.config.to_dict()
        counts = ((name, [{name: one} for one in COUNTS]) for name in read if base.values.get(name) is None)
        self._change(other, counts)
        self._change(other, changes(held, [name for name in read if not self.shows[name]], self._source))
        for name in (one for one in read if self.shows[one]):  # which is no other model by itself
            shown = self.oracles[f"field_{name}"].values
            self._add(f"silent_{name}", base.values | {name: shown[name]})

    def _change_many(self, candidate: Candidate, base: Oracle) -> None:
        fields, held = candidate.config.fields, base.reference.config.to_dict()
        more = [(f"together_{turn}", change) for turn, change in enumerate(together(self._changed), 1)]
        flags = self._flags(base)
        more += flags_at_once([one for name, one in flags.items() if _reshapes(base, self.oracles[name])])
        more += [*absent(base.values, candidate.config), *(alone := [*dropouts(base.values, fields)])]
        more += dropouts_beside(alone, flags, candidate.dropped())
        more += [(f"schedule_{turn}", change) for turn, change in enumerate(schedules(held, list(fields)), 1)]
        less = [one for one in off(held, candidate.structural()) if self._leaves_out(base, one[1])]
        for name, change in (*more, *less):
            self._add(name, merged(base.values, change))

    def _flags(self, base: Oracle) -> dict[str, Config]:
        """The changes of flags that show, by the names of their cases."""
        held = base.reference.config.to_dict()
        flags = [one for one in self._changed if isinstance(held.get(next(iter(one))), bool)]
        return {case: one for one in flags if (case := f"field_{next(iter(one))}") in self.oracles}

    @cached_property
    def _shapes(self) -> dict[str, Any]:
        """Of the parameters of the first config."""
        return {} if self.base is None else dict(shapes(self.subject, self.base.values))

    def _leaves_out(self, base: Oracle, change: Config) -> bool:
        """Whether a model has less of what the first one has, and nothing else: no tensor without elements."""
        key = key_of(change)
        if key not in self._less:
            try:
                here = shapes(self.subject, base.values | change)
            except Exception:  # the reference refuses it
                here = self._shapes
            self._less[key] = here.items() < self._shapes.items()
        return self._less[key]

    def _change(self, base: Oracle, tries: Iterable[tuple[str, list[Config]]]) -> None:
        """Adds of each field the first change that shows."""
        for name, some in tries:
            if self.budget.is_spent:
                return
            shown = next((change for change in some if self._takes(name, base, change)), None)
            self.shows[name] = shown is not None
            self._changed += [shown] if shown else []

    def _add(self, name: str, values: Config) -> bool:
        """Whether the reference takes the config: another one with its answers, if it is not known."""
        key = key_of(values)
        if key in self._known or (self.budget.is_spent and self.oracles):
            return self._known.get(key, True)
        self._known[key] = False
        called, turn = name, 1
        while called in self.oracles:
            called, turn = f"{name}_again{turn}", turn + 1
        try:
            self.oracles[called] = self._asked(values, short=name.startswith("value_"))
        except Exception as error:  # what the reference refuses is no config of it
            self.refused.append(f"{called}: {type(error).__name__}: {error}".split("\n")[0])
            return False
        self._known[key] = True
        return True

    def _takes(self, name: str, base: Oracle, change: Config, kind: str = "field") -> bool:
        """Whether a change for a field shows, and so is a case: of the first config, or of the published one where the
        reference refuses it there."""
        for before in filter(None, (base, self._published)):
            values = merged(before.values, change)
            try:
                oracle = self._asked(values)
            except Exception:  # a config that the reference refuses shows nothing
                continue
            if len(change) == 1:
                self._taken.add(name)
            if not _is_alike(oracle, before):
                self._known[key_of(values)] = True
                self.oracles[f"{kind}_{name}"] = oracle
                return True
            return False
        return False

    @cached_property
    def _published(self) -> Oracle | None:
        """Nothing where it is too large to be run."""
        try:
            return self._asked(self.own)
        except Exception:  # as any config that the reference cannot run
            return None

    def _asked(self, values: Config, *, short: bool = False) -> Oracle:
        """Raises what the reference raises; ValueError where it gives no numbers, or none that are its own."""
        oracle = Oracle(self.subject, values, short=short)
        if not all(logits.isfinite().all() for logits in oracle.measured.logits.values()):
            raise ValueError("the reference gives no numbers")
        if self.base is not None and self.base.is_defined and not oracle.is_defined:
            self._refuse_unclear(oracle, self.base)
        return oracle

    def _refuse_unclear(self, oracle: Oracle, base: Oracle) -> None:
        """Where both attentions heed the one field that was changed, each in its way, what transformers runs by default
        is the model; where one does not, it is the other."""
        if not oracle.is_causal:
            raise ValueError("the reference's answers depend on how attention is computed: a token may see no other")
        is_alone = len([*differing(base.values, oracle.values)]) == 1
        if self.subject.attention != DEFAULT and is_alone and oracle.heeds(base):
            self.are_apart = True
            raise ValueError(f"the reference's attentions are two models: {DEFAULT} is asked")

    @property
    def before(self) -> dict[str, Any]:
        """The values of the first config, defaults included."""
        return self.base.reference.config.to_dict() if self.base is not None else {}

    def values(self, case: str) -> dict[str, Any]:
        """Of the whole config, defaults included; nothing of a case that is none."""
        return self.oracles[case].reference.config.to_dict() if case in self.oracles else {}

    def changed(self, case: str) -> list[str]:
        """The few fields by which a case differs from the first."""
        if case not in self.oracles or self.base is None:
            return []
        base, other = self.base.values, self.oracles[case].values
        found = [*differing(base, other)]
        return found if len(found) <= FEW else []

    def words(self) -> list[str]:
        """The kinds of layers that the configs hold."""
        lists = [value for one in self.oracles.values() for value in one.values.values() if isinstance(value, list)]
        return list(dict.fromkeys(word for value in lists for word in value if isinstance(word, str)))


def _is_alike(one: Oracle, other: Oracle) -> bool:
    """Whether they hold the same tensors and answer the same."""
    logits, before = one.measured.logits, other.measured.logits
    return one.reference.disk.keys() == other.reference.disk.keys() and all(
        logits[batch].shape == wanted.shape and distance(logits[batch], wanted) == 0 for batch, wanted in before.items()
    )


def _reshapes(base: Oracle, other: Oracle) -> bool:
    """Whether they hold other tensors."""
    one, two = ({name: tensor.shape for name, tensor in each.reference.disk.items()} for each in (base, other))
    return one != two


def _lacks(one: Oracle, base: Oracle) -> bool:
    """Whether it has other tensors in place of some."""
    return not base.reference.disk.keys() <= one.reference.disk.keys()
