"""From a draft to a spec that nothing tells from the reference: better candidates, until a budget is spent."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path as File
from typing import Any

from codegen.configs import table
from codegen.errors import CodegenError
from codegen.layout import SPECS
from codegen.tiny.configs import configs, is_dropout
from codegen.tiny.mentions import EQUATION, mentions
from nemo_automodel.parity.asked import NOWHERE, Difference
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.donors import Donors
from nemo_automodel.parity.infer.fitted import Fitted
from nemo_automodel.parity.infer.judge import Judge, Stop
from nemo_automodel.parity.infer.offer import FITS, Offer
from nemo_automodel.parity.infer.offers import Offers
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.redrafted import redrafted
from nemo_automodel.parity.infer.start import Start
from nemo_automodel.parity.infer.variants import (
    Config,
    absent,
    changes,
    dropouts,
    key_of,
    listed,
    mended,
    nearer,
    schedules,
    structural,
    together,
    unread,
)
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.mutate_written import deletions

Progress = Callable[[str], None]
Clock = Callable[[], float]
NEARER = 0.3  # decades of error, by which a change has to be nearer to be kept where it mends nothing
FEW = 3  # fields that say under what condition a model is another one
PAIRED = 24  # changes that are tried together with others


def _is_better(found: Stop | None, stop: Stop) -> bool:
    return found is None or found.place > stop.place or (found.place == stop.place and found.count < stop.count)


def _is_whole(found: Stop | None, stop: Stop, offer: Offer) -> bool:
    """Whether what is better is right now in all layers that it is about: in a few it may be by chance."""
    return found is None or found.place > stop.place or offer.only or found.kinds < stop.kinds


@dataclass
class Found:
    """What a search ends with. stop: None where nothing differs on any of `cases`."""

    candidate: Candidate
    stop: Stop | None
    cases: list[str]
    steps: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)  # configs that the reference cannot run
    undetermined: list[str] = field(default_factory=list)  # fields that changed nothing in any probe
    seconds: float = 0.0
    tried: int = 0

    @property
    def proven(self) -> bool:
        """Whether nothing differs on any config, and there is one."""
        return self.stop is None and bool(self.cases)


def search(begun: Start, root: File, seconds: float, progress: Progress, clock: Clock = time.monotonic) -> Found:
    """The spec of a model, beside the specs of a tree; at most so many seconds."""
    judge = Judge(begun.subject, begun.draft.name)
    donors = Donors(root / SPECS, begun.draft.name)
    return Search(judge, donors, root, seconds, progress, clock, begun.own).run(begun.candidate)


class Search:
    """One search."""

    def __init__(
        self,
        judge: Judge,
        donors: Donors,
        root: File,
        seconds: float,
        progress: Progress,
        clock: Clock = time.monotonic,
        own: Config | None = None,
    ) -> None:
        self.judge, self.donors, self.root, self.progress = judge, donors, root, progress
        self.clock = clock
        self.own = own or {}
        self.began, self.seconds = clock(), seconds
        self.steps: list[str] = []
        self.refused: list[str] = []
        self.known: dict[str, bool] = {}  # configs that were asked for, and whether the reference takes them
        self.shows: dict[str, bool] = {}
        self.lists: set[str] = set()  # fields of which a list for all layers was asked
        self.changed: list[Config] = []  # of single fields, that show

    @property
    def spent(self) -> bool:
        return self.clock() - self.began > self.seconds

    def run(self, candidate: Candidate) -> Found:
        stop = self.ask(candidate)
        whole: Candidate | None = None  # the last that passed all, with nothing left to vary
        while not self.spent:
            if stop is not None:
                if (better := self.improved(candidate, stop)) is None:
                    break
                candidate, stop = better
            elif self.vary(candidate):
                whole, stop = None, self.judge.stop(candidate)
            elif not self.spent:
                whole, shorter = candidate, self.shortened(candidate)
                if shorter is candidate:
                    break
                candidate = shorter  # which may read less, so that more is to vary
        if whole is not None:
            candidate, stop = whole, None
        elif stop is None:
            why = "; ".join(self.refused[:1]) if not self.judge.cases else "the time was spent before all was varied"
            stop = Stop(-1, "configurations", "", (Difference(NOWHERE),), why)
        hidden = [name for name, shown in self.shows.items() if not shown]
        spent = self.clock() - self.began
        return Found(candidate, stop, list(self.judge.cases), self.steps, self.refused, hidden, spent, self.judge.asked)

    def ask(self, candidate: Candidate) -> Stop | None:
        """With the configs that a candidate asks for."""
        if not candidate.problems:
            self.vary(candidate)
        return self.judge.stop(candidate)

    def vary(self, candidate: Candidate) -> bool:
        """Adds the configs that this candidate calls for; whether there is any that was not there."""
        before = len(self.judge.cases)
        try:
            wanted = configs(candidate.spec, table())
        except CodegenError as error:
            self.refused.append(f"no configs: {str(error).splitlines()[0]}")
            return False
        for name, values in wanted.items():
            if not self._add(name, values) and self.own:
                any(self._add(name, other) for other in mended(values, self.own))
        base = next(iter(self.judge.cases.values()), None)
        if base is None:
            return False
        held = base.reference.config.to_dict()
        strong = "base" in self.judge.cases  # then what the spec reads is varied by its own configs
        names = unread(candidate.spec, candidate.config) if strong else structural(candidate.config)
        names_left = [name for name in names if name not in self.shows]
        self._change(base, changes(held, names_left, self.judge.source))
        for name, change in listed(held, structural(candidate.config)):
            if name not in self.lists:
                self.lists.add(name)
                self._shows(name, base, change, "list")
        self._change(base, nearer(held, [name for name in names if not self.shows.get(name, True)]))
        for turn, change in enumerate(together(self.changed)):
            self._add(f"together_{turn + 1}", base.values | change)
        for name, change in absent(base.values, candidate.config):
            self._add(name, base.values | change)
        for name, change in dropouts(base.values, candidate.config.fields):
            self._add(name, base.values | change)
        for turn, change in enumerate(schedules(held, list(candidate.config.fields))):
            self._add(f"schedule_{turn + 1}", base.values | change)
        return len(self.judge.cases) > before

    def _change(self, base: Oracle, tries: Iterable[tuple[str, list[Config]]]) -> None:
        """Adds of each field the first change that shows."""
        for name, some in tries:
            if self.spent:
                return
            shown = next((change for change in some if self._shows(name, base, change)), None)
            self.shows[name] = shown is not None
            self.changed += [shown] if shown else []

    def _add(self, name: str, values: Config) -> bool:
        """Whether the reference takes the config: another one with its answers, if it is not known."""
        key = key_of(values)
        if key in self.known or (self.spent and self.judge.cases):
            return self.known.get(key, True)
        self.known[key] = False
        called, turn = name, 1
        while called in self.judge.cases:
            called, turn = f"{name}_again{turn}", turn + 1
        try:
            oracle = Oracle(self.judge.subject, values, short=name.startswith("value_"))
            if not all(logits.isfinite().all() for logits in oracle.measured.logits.values()):
                raise ValueError("the reference gives no numbers")
        except Exception as error:  # what the reference refuses is no config of it
            self.refused.append(f"{called}: {type(error).__name__}: {error}".split("\n")[0])
            return False
        self.judge.cases[called] = oracle
        self.known[key] = True
        return True

    def _shows(self, name: str, base: Oracle, change: Config, kind: str = "field") -> bool:
        values = base.values | change
        try:
            oracle = Oracle(self.judge.subject, values)
            logits = oracle.measured.logits
            if not all(one.isfinite().all() for one in logits.values()):
                return False
        except Exception:  # a config that the reference refuses shows nothing
            return False
        same = oracle.reference.disk.keys() == base.reference.disk.keys() and all(
            logits[batch].shape == wanted.shape and distance(logits[batch], wanted) == 0
            for batch, wanted in base.measured.logits.items()
        )
        if not same:
            self.known[key_of(values)] = True
            self.judge.cases[f"{kind}_{name}"] = oracle
        return not same

    def improved(self, candidate: Candidate, stop: Stop) -> tuple[Candidate, Stop | None] | None:
        """The first candidate with fewer differences, else the one that is much nearer, else one of two changes."""
        seen = {"" if candidate.problems else repr(candidate.files)}
        for group in self.offers(candidate, stop).groups():
            if (fits := self.fittest(candidate, stop, [offer for offer in group if offer.count == FITS])) is not None:
                return fits
            best, acting = (candidate, stop, ""), list[tuple[float, Offer]]()
            partly: tuple[Candidate, Stop, str] | None = None
            for offer, other in self.made(candidate, group, seen):
                found = self.tried(str(offer), other, stop)
                if _is_better(found, stop):
                    if found is None or _is_whole(found, stop, offer):
                        self.steps.append(f"{offer} ({stop.what}, {stop.case})")
                        return other, found
                    if partly is None or found.count < partly[1].count:
                        partly = other, found, str(offer)
                    continue
                if found is not None and found.place == stop.place and found.count == stop.count:
                    acting += [(found.score[1], offer)] if found.score != stop.score else []
                    best = (other, found, str(offer)) if found.score < best[1].score else best
            if partly is not None:
                self.steps.append(f"{partly[2]} ({stop.what}, {stop.case}; in some layers)")
                return partly[:2]
            if best[1].score[1] < stop.score[1] - NEARER:
                self.steps.append(f"{best[2]} ({stop.what}, {stop.case}; nearer)")
                return best[:2]
            acting.sort(key=lambda one: one[0])
            if (better := self.paired(candidate, stop, [offer for _, offer in acting[:PAIRED]], seen)) is not None:
                return better
        return None

    def fittest(
        self, candidate: Candidate, stop: Stop, offers: Sequence[Offer]
    ) -> tuple[Candidate, Stop | None] | None:
        """Of several names for what is there, the one that leaves least open."""
        best: tuple[Candidate, Stop | None] = candidate, stop
        said = ""
        for offer, other in self.made(candidate, offers, set()):
            found = self.tried(str(offer), other, stop)
            if best[1] is not None and _is_better(found, best[1]):
                best, said = (other, found), str(offer)
        if not said:
            return None
        self.steps.append(f"{said} ({stop.what}, {stop.case})")
        return best

    def offers(self, candidate: Candidate, stop: Stop) -> Offers:
        fields = [name for name, shows in self.shows.items() if shows]
        if not candidate.problems:
            read_by_none = unread(candidate.spec, candidate.config)
            fields = [name for name in fields if name in read_by_none]
        if stop.what == "loss in training" and not candidate.problems:
            fields = [name for name in candidate.config.fields if is_dropout(name)]
        oracle = self.judge.cases.get(stop.case)
        fitted, values = self.fitted(candidate, stop), oracle.reference.config.to_dict() if oracle else None
        changed = self.changed_in(oracle) if oracle and not candidate.problems else []
        return Offers(candidate, stop, self.donors, fields, self.words(), fitted, values, changed)

    def changed_in(self, oracle: Oracle) -> list[str]:
        """The few fields by which a config differs from the first."""
        base = next(iter(self.judge.cases.values())).values
        changed = [name for name in {**base, **oracle.values} if base.get(name) != oracle.values.get(name)]
        return changed if len(changed) <= FEW else []

    def fitted(self, candidate: Candidate, stop: Stop) -> list[tuple[Path, Any]]:
        """The equations that the reference's run shows where its outputs differ; what a draft says where its tensors
        do."""
        oracle = self.judge.cases.get(stop.case)
        if candidate.problems or oracle is None:
            return []
        if stop.what == "tensors":
            return redrafted(candidate, oracle, self.root, self.judge.name)
        if not stop.what.startswith(("outputs", "bits", "given embeddings")):
            return []
        read = mentions(candidate.spec, candidate.config)
        sizes = {one.field for one in read if one.role != EQUATION}
        likely = [name for name in candidate.config.fields if name not in sizes]
        return [((section,), lines) for section, lines in Fitted(candidate, oracle, likely).sections()]

    def made(self, candidate: Candidate, group: Sequence[Offer], seen: set[str]) -> Iterator[tuple[Offer, Candidate]]:
        """Candidates, but those of other texts and the same code as one before."""
        for offer in group:
            if self.spent:
                return
            other = Candidate(offer.made(candidate.data), candidate.path)
            if not other.problems:
                if (code := repr(other.files)) in seen:
                    continue
                seen.add(code)
                if not self.judge.cases:
                    self.vary(other)
            yield offer, other

    def words(self) -> list[str]:
        """The kinds of layers that the configs hold."""
        lists = [value for one in self.judge.cases.values() for value in one.values.values() if isinstance(value, list)]
        return list(dict.fromkeys(word for value in lists for word in value if isinstance(word, str)))

    def tried(self, what: str, other: Candidate, stop: Stop) -> Stop | None:
        found = self.judge.stop(other, stop)
        self.progress(f"{self.judge.asked} tried; {stop.what}, {stop.case}: {len(stop.found)} differ; {what[:60]}")
        return found

    def paired(
        self, candidate: Candidate, stop: Stop, acting: list[Offer], seen: set[str]
    ) -> tuple[Candidate, Stop | None] | None:
        """Two changes at once, of those that each change what differs: the likeliest first."""
        for first, second in sorted(combinations(range(len(acting)), 2), key=sum):
            one, another = acting[first], acting[second]
            if one.mutant is not None or another.mutant is not None:
                continue
            both = Offer((*one.puts, *another.puts), max(one.tier, another.tier), one.only or another.only)
            for offer, other in self.made(candidate, [both], seen):
                found = self.tried(str(offer), other, stop)
                if _is_better(found, stop):
                    self.steps.append(f"{offer} ({stop.what}, {stop.case})")
                    return other, found
        return None

    def shortened(self, candidate: Candidate) -> Candidate:
        """Without the keys that change nothing."""
        again = True
        while again and not self.spent:
            again = False
            for what, data in _largest_first(candidate):
                other = Candidate(data, candidate.path)
                if not other.problems and self.judge.stop(other) is None:
                    candidate, again = other, True
                    self.steps.append(f"{what}: nothing tells")
                    break
        return candidate


def _largest_first(candidate: Candidate) -> Iterator[tuple[str, Any]]:
    return iter(sorted(deletions(candidate.data), key=lambda one: one[0].count(".")))
