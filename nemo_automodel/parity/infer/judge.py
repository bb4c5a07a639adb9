"""Where a candidate differs from the reference first, and by how much: what a search goes by."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import log10

from nemo_automodel.components.models.common.unsupported import UnsupportedConfigError
from nemo_automodel.parity.asked import LARGEST, NOWHERE, Difference
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.questions import Question, questions
from nemo_automodel.parity.infer.trial import Lacking, Trial
from nemo_automodel.parity.sandbox import installed
from nemo_automodel.parity.subject import Subject

LEAST = 1e-8  # below which an error says no more
RAISED = 1000  # differences that an exception counts for


@dataclass(frozen=True)
class Stop:
    """The first check that a candidate does not pass: its place among all, and what differs there."""

    place: int
    what: str
    case: str
    found: tuple[Difference, ...]
    said: str = ""
    order: tuple[str, ...] = ()  # paths of the reference's modules
    missing: tuple[str, ...] = ()  # tensors that the checkpoint lacks, and that nothing takes
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    unseen: int = 0  # modules of the reference that nothing stands beside

    @property
    def count(self) -> int:
        """How much differs or cannot be compared: a model of other names would have no differences. A tensor of another
        shape is as one that is missing and one that is unexpected."""
        return len(self.found) + len(self.misshapen) + self.unseen

    @property
    def score(self) -> tuple[int, float]:
        """The less the better."""
        return self.count, sum(log10(min(max(one.error, LEAST), LARGEST)) for one in self.found)

    @property
    def kinds(self) -> frozenset[str]:
        """What differs, in whichever layers."""
        return frozenset(re.sub(r"\.\d+\.", ".", one.where) for one in self.found)

    @property
    def inmost(self) -> tuple[Difference, ...]:
        """The components that differ, and none inside them."""
        holders = {one.where[:dot] for one in self.found for dot, text in enumerate(one.where) if text == "."}
        return tuple(one for one in self.found if one.where not in holders)


class Judge:
    """Asks candidates the same questions in the same order, cheapest first."""

    def __init__(self, subject: Subject, name: str, cases: Mapping[str, Oracle]) -> None:
        self.subject, self.name, self.cases = subject, name, cases
        self.asked = 0
        self.refused: dict[str, str] = {}  # configs that no generated model takes, and why

    def stop(self, candidate: Candidate, since: Stop | None = None) -> Stop | None:
        """The first question at which a candidate fails; None: it passes all.

        since: where the one before stopped. A candidate that is no better there is not asked anything else, and is
        given back as stopped there or earlier.
        """
        self.asked += 1
        if problems := candidate.problems:
            return Stop(-1, "spec", "", tuple(map(Difference, problems)))
        try:
            return self._stop(candidate, since)
        except ImportError as error:  # of what the candidate names
            return Stop(-1, "spec", "", (Difference(NOWHERE),), str(error).split("\n")[0])

    def tells(self, candidate: Candidate, likely: Collection[str] = ()) -> bool:
        """Whether a candidate fails anywhere. likely: kinds of questions that are asked first."""
        self.asked += 1
        if candidate.problems:
            return True
        asked = sorted(enumerate(questions(self.cases)), key=lambda one: one[1].what not in likely)
        try:
            with installed(self.name, candidate.files) as modules:
                trial = Trial(self.subject, modules)
                return any(self._asked(question, place, trial) for place, question in asked)
        except ImportError:  # of what the candidate names
            return True

    def _stop(self, candidate: Candidate, since: Stop | None) -> Stop | None:
        asked = list(questions(self.cases))
        with installed(self.name, candidate.files) as modules:
            trial = Trial(self.subject, modules)
            order = [*range(len(asked))]
            if since is not None and since.place >= 0:
                question = asked[since.place]
                near = _asked_again(question, since, trial) if _is_within(since, candidate) else None
                if near is not None and near.score >= since.score:
                    return near
                at = self._asked(question, since.place, trial)
                if at is not None and at.score >= since.score:
                    return at
                order = [*order[: since.place], *([since.place] if at else order[since.place + 1 :])]
            for place in order:
                if found := self._asked(asked[place], place, trial):
                    return found
        return None

    def _asked(self, question: Question, place: int, trial: Trial) -> Stop | None:
        try:
            found = question.ask(trial)
        except Lacking as error:
            found = [Difference(name) for name in (*error.missing, *error.unexpected, *error.misshapen)]
            names = error.missing, error.unexpected, error.misshapen
            return Stop(place, question.what, question.case, tuple(found), "", question.order, *names)
        except Exception as error:  # a wrong spec may fail in any way, and says how
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            if any(isinstance(one, UnsupportedConfigError) for one in (error, error.__cause__)):
                self.refused[question.case] = str(error)  # by the library, whatever the spec
                return None
            return Stop(
                place, question.what, question.case, (Difference(NOWHERE),), said, question.order, unseen=RAISED
            )
        if not found:
            return None
        unseen, said = getattr(found, "unseen", 0), ""
        return Stop(place, question.what, question.case, tuple(found), said, question.order, unseen=unseen)


def _is_within(stop: Stop, candidate: Candidate) -> bool:
    """Whether layers differ: what precedes and follows them may be scaled within a module, or behind it."""
    stack = f"{candidate.layers(memory=True)}."
    return any(one.where.startswith(stack) for one in stop.inmost)


def _asked_again(question: Question, since: Stop, trial: Trial) -> Stop | None:
    """The same differences with what the inmost of them are now; None where that cannot be said so."""
    inmost = since.inmost
    if question.again is None or any(one.where == NOWHERE for one in inmost):
        return None
    try:
        now = {one.where: one for one in question.again(trial, inmost)}
    except Exception:  # `_asked` says how it fails
        return None
    asked = {one.where for one in inmost}
    return replace(
        since, found=tuple(now.get(one.where, one) for one in since.found if one.where not in asked - now.keys())
    )
