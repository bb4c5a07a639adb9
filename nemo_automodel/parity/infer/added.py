"""Roles that a candidate does not have, under the names of tensors that it does not expect."""

from collections.abc import Iterator, Sequence
from itertools import product

from codegen.language.keys import keys
from codegen.language.spec import ROLE_NAMES, Spec
from nemo_automodel.parity.infer.below import keys_below
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import FITS, SAID, Offer
from nemo_automodel.parity.mutant import Path


def added(candidate: Candidate, stop: Stop, overlays: Sequence[Path]) -> Iterator[Offer]:
    """Each switch that is the name of a tensor's role, with an unexpected tensor for it. overlays: where switches may
    stand, that of all layers too."""
    for part in PARTS if stop.what == "tensors" else ():
        tails = dict.fromkeys(_tails(candidate, stop, part))
        for path, key in keys_below((part,), keys(Spec).get(part), candidate.data) if tails else ():
            role, is_switch = str(path[-1]), key.type == "expression" and not key.words
            if is_switch and role in ROLE_NAMES and candidate.body.get(*path) is None:
                for tail, overlay in product(tails, overlays):
                    puts = ((*overlay, *path), True), (("checkpoint", "names", role), tail)
                    yield Offer(puts, SAID, bool(overlay), FITS)


def _tails(candidate: Candidate, stop: Stop, part: str) -> Iterator[str]:
    """What unexpected tensors of a part are called within it, and others of layers beside it."""
    stack = candidate.layers() + "."
    others = tuple(f"{name}." for one in PARTS for name in filter(None, candidate.names_of(one)))
    for name in filter(None, candidate.names_of(part)):
        for path in (one for one in stop.unexpected if one.startswith(stack)):
            inside = path.removeprefix(stack).partition(".")[2].removesuffix(".weight")
            if inside.startswith(f"{name}."):
                yield inside.removeprefix(f"{name}.")
            elif not inside.startswith(others):
                yield f"..{inside}"
