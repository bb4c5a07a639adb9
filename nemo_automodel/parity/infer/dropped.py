"""Where the probability of a field acts in training: at several places at once, as one alone is no nearer."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from codegen.language.keys import keys
from codegen.language.spec import Dropout
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.offer import NEEDED, Offer

SECTION, NOWHERE = "dropout", 0.0
RESIDUAL, MLP = "residual", "mlp"
MOST = 3  # places of one field


def dropped(candidate: Candidate, changed: Sequence[str]) -> Iterator[Offer]:
    """Each field at one place, then at more, and at none of the others.

    changed: the fields by which the config differs from the first.
    """
    for field in changed:
        reads = f"config.{field}"
        there = [place for place in keys(Dropout) if candidate.body.get(SECTION, place) == reads]
        for count in range(1, MOST + 1):
            for some in combinations(keys(Dropout), count):
                puts = [((SECTION, place), reads) for place in some]
                less = [((SECTION, place), NOWHERE) for place in there if place not in some]
                yield Offer((*less, *puts), NEEDED)
                if RESIDUAL in some and not {MLP} & {*some, *there}:  # which has it from there by itself
                    yield Offer((*less, *puts, ((SECTION, MLP), NOWHERE)), NEEDED)
