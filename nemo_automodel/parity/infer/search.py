"""From a draft to a spec that nothing tells from the reference: better candidates, until a budget is spent."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path as File
from typing import Any

from codegen.lent import lenders
from codegen.tiny.configs import is_dropout
from codegen.tiny.mentions import EQUATION, mentions
from nemo_automodel.parity.asked import NOWHERE, Difference
from nemo_automodel.parity.infer.below import rounds
from nemo_automodel.parity.infer.budget import Budget, Clock
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.combined import completed
from nemo_automodel.parity.infer.differences import ROUTING, SUMS
from nemo_automodel.parity.infer.donors import Donors
from nemo_automodel.parity.infer.dropped import SECTION
from nemo_automodel.parity.infer.fitted import Fitted
from nemo_automodel.parity.infer.image_offers import ImageOffers
from nemo_automodel.parity.infer.judge import Judge, Stop
from nemo_automodel.parity.infer.nearest import Bits, roundings
from nemo_automodel.parity.infer.norms import of_norms
from nemo_automodel.parity.infer.of_images import ImageCandidate
from nemo_automodel.parity.infer.offer import FITS, Offer
from nemo_automodel.parity.infer.offers import Offers
from nemo_automodel.parity.infer.plainer import ways
from nemo_automodel.parity.infer.questions import IN_BF16, TRAINING
from nemo_automodel.parity.infer.redrafted import Redrafts, otherwise
from nemo_automodel.parity.infer.round import MUCH, NEARER, Round, Tried, is_better
from nemo_automodel.parity.infer.start import Start
from nemo_automodel.parity.infer.sums import of_sums
from nemo_automodel.parity.infer.told import alone, attended, counted, pinned
from nemo_automodel.parity.infer.variants import held
from nemo_automodel.parity.mutant import Path, dotted
from nemo_automodel.parity.mutate_written import deletions
from nemo_automodel.parity.sensitivity import is_dtype_key

Progress = Callable[[str], None]
Step = tuple[Candidate, Stop | None]  # a better candidate, and where it stops
PAIRED = 24  # changes that are tried together with others


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
    budget = Budget(seconds, clock)
    cases = Cases(begun.subject, begun.own, budget)
    donors = Donors(lenders(root), begun.draft.name, begun.subject.takes_images)
    return Search(Judge(begun.subject, begun.draft.name, cases.oracles), cases, donors, root, progress).run(
        begun.candidate
    )


class Search:
    """One search. root: the tree that holds the specs."""

    def __init__(self, judge: Judge, cases: Cases, donors: Donors, root: File, progress: Progress) -> None:
        self.judge, self.cases, self.donors, self.progress = judge, cases, donors, progress
        self.redrafts = Redrafts(root, judge.name)
        self.budget = cases.budget
        self.steps: list[str] = []
        self.drafted: dict[str, Any] = {}  # the text that the search began with

    def run(self, candidate: Candidate) -> Found:
        self.drafted = candidate.data
        if not candidate.problems:
            self.cases.vary(candidate)
        stop = self.judge.stop(candidate)
        whole: Candidate | None = None  # the last that passed all, with nothing left to vary
        while not self.budget.is_spent:
            if (other := self.told(candidate, stop)) is not None:
                self.steps.append(f"tests: {other.data['tests']}")
                candidate, whole, _ = other, None, self.cases.vary(other)
                stop = self.judge.stop(candidate)
            elif stop is not None:
                if (better := self.improved(candidate, stop)) is None:
                    break
                candidate, stop = better
            elif self.cases.vary(candidate):
                whole, stop = None, self.judge.stop(candidate)
            elif not self.budget.is_spent:
                whole, shorter = candidate, self.plainer(self.shortened(candidate))
                if shorter is candidate:
                    whole = self.nearest(candidate)
                    break
                candidate = shorter  # which may read less, so that more is to vary
        return (
            self.ended(candidate, stop)
            if whole is None
            else self.ended(pinned(whole, self.cases, self.judge), None, proven=True)
        )

    def told(self, candidate: Candidate, stop: Stop | None) -> Candidate | None:
        """The candidate, judged by the reference asked otherwise; None where that is nothing new."""
        if (other := attended(candidate, self.cases, self.judge)) is not None or stop is None:
            return other
        return alone(candidate, stop, self.cases, self.judge) or counted(candidate, self.cases)

    def ended(self, candidate: Candidate, stop: Stop | None, proven: bool = False) -> Found:
        oracles = {name: one for name, one in self.cases.oracles.items() if name not in self.judge.refused}
        refused = [*self.cases.refused, *(f"{name}: {why}" for name, why in self.judge.refused.items())]
        if stop is None and not (proven and len(oracles) > 1):  # one config says nothing of what may be another model
            why = "; ".join(refused[:1]) if len(oracles) < 2 else "the time was spent before all was varied"
            stop = Stop(-1, "configurations", "", (Difference(NOWHERE),), why)
        hidden = [name for name, shown in self.cases.shows.items() if not shown]
        return Found(candidate, stop, [*oracles], self.steps, refused, hidden, self.budget.taken, self.judge.asked)

    def improved(self, candidate: Candidate, stop: Stop) -> Step | None:
        """The first candidate with fewer differences, else the one that is much nearer, else one of two changes, else
        one that is nearer at all."""
        seen = {"" if candidate.problems else repr(candidate.files)}
        for group in self.offers(candidate, stop).groups():
            if found := self.fittest(candidate, stop, [offer for offer in group if offer.count == FITS]):
                return self.kept(found, stop)
            came = Round(stop)
            found = next((one for one in self.tried(candidate, group, seen, stop) if came.take(one)), None)
            found = found or came.best(MUCH) or self.paired(candidate, stop, came, seen) or came.best(NEARER)
            if found is not None:
                return self.kept(self.widened(candidate, stop, found), stop)
        return None

    def widened(self, candidate: Candidate, stop: Stop, found: Tried) -> Tried:
        """What mends one kind of layers, said of all of them where that comes as far: it is what a reader expects."""
        offer = found.offer.of_all()
        wide = next(self.tried(candidate, [offer] if offer is not None else [], set(), stop), found)
        if found.stop is None or wide.stop is None:
            return found if wide.stop is not None else wide
        place, score = found.stop.place, found.stop.score
        return wide if (wide.stop.place, score) >= (place, wide.stop.score) else found

    def kept(self, found: Tried, stop: Stop) -> Step:
        self.steps.append(found.said(stop))
        return found.candidate, found.stop

    def fittest(self, candidate: Candidate, stop: Stop, offers: Sequence[Offer]) -> Tried | None:
        """Of several names for what is there, the one that leaves least open."""
        best: Tried | None = None
        for one in self.tried(candidate, offers, set(), stop):
            least = stop if best is None else best.stop
            best = one if least is not None and is_better(one.stop, least) else best
        return best

    def paired(self, candidate: Candidate, stop: Stop, came: Round, seen: set[str]) -> Tried | None:
        """Two changes at once, of those that each change what differs: the likeliest first."""
        single = [one for one in came.acting if not one[1].together]
        acting = [offer for _, offer in sorted(single, key=lambda one: one[0])[:PAIRED]]
        pairs = sorted(combinations(range(len(acting)), 2), key=sum)
        some = [(acting[first], acting[second]) for first, second in pairs]
        both = [one.with_(two) for one, two in some if one.mutant is None and two.mutant is None and one.fits(two)]
        return next((one for one in self.tried(candidate, both, seen, stop) if is_better(one.stop, stop)), None)

    def tried(self, candidate: Candidate, group: Sequence[Offer], seen: set[str], stop: Stop) -> Iterator[Tried]:
        """Changes one after another, but those of the same text or code as one before."""
        for offer, other in self.made(candidate, group, seen):
            if self.budget.is_spent:
                return
            if not other.problems:
                if (code := repr(other.files)) in seen:
                    continue
                seen.add(code)
                if not self.cases.oracles:
                    self.cases.vary(other)
            found = self.judge.stop(other, stop)
            self.progress(
                f"{self.judge.asked} tried; {stop.what}, {stop.case}: {len(stop.found)} differ; {offer!s:.60}"
            )
            yield Tried(offer, other, found)

    def made(self, candidate: Candidate, group: Sequence[Offer], seen: set[str]) -> Iterator[tuple[Offer, Candidate]]:
        """Each change that makes a new text, and in place of one that lacks a key, that with it."""
        numbers = {} if candidate.problems else candidate.config.fields
        fields = [name for name, shows in self.cases.shows.items() if shows and type(held(numbers, name)) is float]
        for offer in group:
            other = candidate.with_(offer.made(candidate.data))
            if (said := repr(other.data)) in seen:  # of which no code need be made
                continue
            seen.add(said)
            whole = [*completed(offer, other, fields)] if other.problems and not candidate.problems else []
            yield from ((one, candidate.with_(one.made(candidate.data))) for one in whole)
            if not whole:
                yield offer, other

    def offers(self, candidate: Candidate, stop: Stop) -> Offers:
        fields = [name for name, shows in self.cases.shows.items() if shows]
        if not candidate.problems:
            read_by_none = candidate.unread()
            fields = [name for name in fields if name in read_by_none]
        if stop.what == TRAINING and not candidate.problems:
            fields = [name for name in candidate.config.fields if is_dropout(name)]
        values, changed = self.cases.values(stop.case), self.cases.changed(stop.case)
        fitted, before = [] if candidate.problems else self.fitted(candidate, stop), self.cases.before
        kind = ImageOffers if isinstance(candidate, ImageCandidate) else Offers
        outputs = stop.what.startswith("outputs")
        apart = self.apart(candidate, stop) if changed and outputs else []
        withdrawn = [*otherwise(self.drafted, candidate.data)] if changed else []
        words = self.cases.words()
        return kind(candidate, stop, self.donors, fields, words, fitted, values, changed, before, apart, withdrawn)

    def apart(self, candidate: Candidate, stop: Stop) -> list[tuple[Path, Any]]:
        """What the draft of a changed config says otherwise than that of the first."""
        if isinstance(candidate, ImageCandidate):
            return []
        return self.redrafts.between(next(iter(self.cases.oracles)), stop.case, self.cases.oracles)

    def fitted(self, candidate: Candidate, stop: Stop) -> list[tuple[Path, Any]]:
        """The equations that the reference's run shows where its outputs differ; what a draft says where its tensors
        do."""
        if (oracle := self.cases.oracles.get(stop.case)) is None:
            return []
        if stop.what == "tensors":
            found = self.redrafts.beside(candidate, stop.case, oracle)
            more = self.apart(candidate, stop) if self.cases.changed(stop.case) else []
            return [*found, *(one for one in more if one[0] not in [path for path, _ in found])]
        if isinstance(candidate, ImageCandidate) or not stop.what.startswith(("outputs", "bits", "given embeddings")):
            return []
        if stop.what.startswith("outputs") and any(one.where.endswith(f"{ROUTING}{SUMS}") for one in stop.found):
            return [*of_sums(candidate, oracle, stop.what.rpartition(" ")[2])]
        read = mentions(candidate.spec, candidate.config)
        sizes = {one.field for one in read if one.role != EQUATION}
        likely = [name for name in candidate.config.fields if name not in sizes]
        return [*of_norms(candidate, stop, oracle), *Fitted(candidate, oracle, likely).puts()]

    def shortened(self, candidate: Candidate) -> Candidate:
        """Without the keys that change nothing, each asked once."""
        asked, left = set[str](), _largest_first(candidate)
        while left and not self.budget.is_spent:
            what, data = left.pop(0)
            if what in asked:
                continue
            asked.add(what)
            other = candidate.with_(data)
            if not self.judge.tells(other, _likely(what)):
                candidate, left = other, _largest_first(other)
                self.steps.append(f"{what}: nothing tells")
        return candidate

    def nearest(self, candidate: Candidate) -> Candidate:
        """With the words that nothing tells from what is there, but more of whose numbers are the reference's."""
        if self.cases.base is None or isinstance(candidate, ImageCandidate):
            return candidate
        bits = Bits(self.cases.subject, self.judge.name, self.cases.base)
        alike = bits.alike(candidate)
        for what, _ in roundings(candidate):
            other = dict(roundings(candidate)).get(what)
            if other is None or other.problems or self.budget.is_spent:
                continue
            if (more := bits.alike(other)) > alike and not self.judge.tells(other):
                self.steps.append(f"{what}: nearer by {len(more - alike)} of the reference's numbers")
                candidate, alike = other, more
        return candidate

    def plainer(self, candidate: Candidate) -> Candidate:
        """With all said the plainest way that nothing tells from what is there."""
        asked = {repr(candidate.data)}
        while not self.budget.is_spent and not isinstance(candidate, ImageCandidate):
            for what, data in ways(candidate):
                if repr(data) in asked:
                    continue
                asked.add(repr(data))
                other = candidate.with_(data)
                if not other.problems and other.lines <= candidate.lines and not self.judge.tells(other):
                    self.steps.append(f"{what}: nothing tells")
                    candidate = other
                    break
            else:
                break
        return candidate


def _likely(what: str) -> tuple[str, ...]:
    """The questions that a key is likeliest to show in."""
    path = (*what.removeprefix("delete ").split("."),)
    if path[0] == SECTION:
        return (TRAINING,)
    return IN_BF16 if rounds(path) else ()


def _largest_first(candidate: Candidate) -> list[tuple[str, Any]]:
    """Deletions, but those of a precision that only shows where weights which stay fp32 are cast all the same."""
    leaves = [path for path, value in candidate.body.leaves() if value == "float32" and {*path} & {*PARTS}]
    precise = [path for path in leaves if is_dtype_key(str(path[-1]))]
    kept = {f"delete {dotted(path[:end])}" for path in precise for end in range(1, len(path) + 1)}
    return sorted((one for one in deletions(candidate.data) if one[0] not in kept), key=lambda one: one[0].count("."))
