"""What a group of changes came to, tried one after another at the same stop."""

from dataclasses import dataclass, field

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import Offer

NEARER = 0.3  # decades of error, by which a change has to be nearer to be kept where it mends nothing
MUCH = 1.0  # by which it is kept before two changes are tried together


@dataclass(frozen=True)
class Tried:
    """A change, with the candidate that it makes and where that one stops."""

    offer: Offer
    candidate: Candidate
    stop: Stop | None
    how: str = ""

    def said(self, before: Stop) -> str:
        return f"{self.offer} ({before.what}, {before.case}{self.how})"


def is_better(found: Stop | None, stop: Stop) -> bool:
    """Whether a candidate comes further, or as far with fewer differences."""
    return found is None or found.place > stop.place or (found.place == stop.place and found.count < stop.count)


@dataclass
class Round:
    """stop: where all of them start from."""

    stop: Stop
    partly: Tried | None = None  # what is right in more layers than before, but not in all
    nearest: Tried | None = None  # what mends nothing, and differs least
    acting: list[tuple[float, Offer]] = field(default_factory=list)  # what changes the differences, with what is left

    def take(self, tried: Tried) -> bool:
        """Whether it may be kept at once; else it is remembered for what it is."""
        found = tried.stop
        if is_better(found, self.stop):
            if found is None or _is_whole(found, self.stop, tried.offer):
                return True
            if self.partly is None or self.partly.stop is None or found.count < self.partly.stop.count:
                self.partly = Tried(tried.offer, tried.candidate, found, "; in some layers")
        elif found is not None and found.place == self.stop.place and found.count == self.stop.count:
            if found.score != self.stop.score:
                self.acting.append((found.score[1], tried.offer))
            if self.nearest is None or self.nearest.stop is None or found.score < self.nearest.stop.score:
                self.nearest = Tried(tried.offer, tried.candidate, found, "; nearer")
        return False

    def best(self, nearer: float) -> Tried | None:
        """Of what may not be kept at once: what is right in some layers, or nearer by so many decades."""
        if self.partly is not None:
            return self.partly
        nearest = self.nearest
        if nearest is None or nearest.stop is None or nearest.stop.score[1] >= self.stop.score[1] - nearer:
            return None
        return nearest


def _is_whole(found: Stop, stop: Stop, offer: Offer) -> bool:
    """Whether what is better is right now in all layers that it is about: in a few it may be by chance."""
    return found.place > stop.place or offer.only or found.kinds < stop.kinds
