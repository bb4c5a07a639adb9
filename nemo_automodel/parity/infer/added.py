"""Roles that a candidate does not have, under the names of tensors that it does not expect."""

from collections.abc import Iterator

from codegen.language.keys import keys
from codegen.language.spec import ROLE_NAMES, Spec
from nemo_automodel.parity.infer.below import keys_below
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import FITS, SAID, Offer


def added(candidate: Candidate, stop: Stop) -> Iterator[Offer]:
    """Each switch of a part that is the name of a tensor's role, with a tensor of the part for it."""
    for part in PARTS:
        tails = dict.fromkeys(_tails(candidate, stop, part))
        for path, key in keys_below((part,), keys(Spec).get(part), candidate.data) if tails else ():
            role, is_switch = str(path[-1]), key.type == "expression" and not key.words
            if is_switch and role in ROLE_NAMES and candidate.body.get(*path) is None:
                for tail in tails:
                    yield Offer(((path, True), (("checkpoint", "names", role), tail)), SAID, False, FITS)


def _tails(candidate: Candidate, stop: Stop, part: str) -> Iterator[str]:
    """What unexpected tensors of a part are called within it."""
    stack = candidate.layers() + "."
    for name in filter(None, candidate.names_of(part)):
        for inside in (one.removeprefix(stack).partition(".")[2] for one in stop.unexpected):
            if inside.startswith(f"{name}."):
                yield inside.removeprefix(f"{name}.").removesuffix(".weight")
