"""In which order changes are tried: what the place of the differences makes likely comes first."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from codegen.language.keys import keys
from codegen.language.spec import Spec
from codegen.plan.names import name_in_memory
from nemo_automodel.parity.infer.below import keys_below
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.differences import ROUTING
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import DELETED, NEEDED, SAID, Offer
from nemo_automodel.parity.sensitivity import is_dtype_key

ROLES = ("router", "experts", "shared")  # keys of a part that are modules of it, compared by themselves
WHOLE = ("router", "experts")  # those whose keys say nothing of what is around them
WRONG, OPEN, RIGHT = range(3)
FIELD = re.compile(r"config\.\w+")
CONDITION = re.compile(r"""'when': ("[^"]*"|'[^']*')""")


@cache
def usual_fields() -> dict[str, tuple[str, ...]]:
    """Of each key the fields that it reads by itself, behind a word of another: `_intermediate_size`."""
    found: dict[str, dict[str, None]] = {}
    for section, key in keys(Spec).items():
        for kind in key.kinds or ("",):
            for path, inner in keys_below((section,), key, {section: kind}):
                read = [one.removeprefix("config.") for one in inner.chain if FIELD.fullmatch(one)]
                found.setdefault(str(path[-1]), {}).update(dict.fromkeys(f"_{one}" for one in read))
    return {name: tuple(fields) for name, fields in found.items()}


class Order:
    """unread: fields that show and that the candidate does not read. changed: those by which the config differs from
    the first. partial: whether some layers are right in what others are wrong in."""

    def __init__(self, candidate: Candidate, stop: Stop, unread: Sequence[str], changed: Sequence[str]) -> None:
        self.candidate, self.stop, self.unread, self.changed = candidate, stop, unread, changed
        self.stack = "" if candidate.problems else candidate.layers(stop.what != "tensors") + "."
        self.partial = self._is_partial()
        self.wrong = self._wrong_roles()

    def rank(self, offer: Offer) -> tuple[Any, ...]:
        """What the stop calls for; what reads the field that was changed, then what reads a field of the key's name;
        what runs show, and what the draft guessed; what is about a module that differs before what is about one that
        does not; what reads a field that nobody reads; what concerns as many layers as are wrong, where that can be
        told, but that what is rounded in all may not show in all; where it comes from."""
        some = self.partial and not self.stop.what.endswith("in bf16")
        return (
            offer.tier != NEEDED,
            self._follows(offer),
            not self._is_named(offer),
            offer.tier > DELETED,
            self._place(offer),
            not self._reads(offer),
            bool(self.stop.order) and offer.only != some,
            offer.tier,
            offer.only != some,
            -offer.count,
        )

    def _follows(self, offer: Offer) -> int:
        """What has the changed field in a value, then what has it in a condition, then all else."""
        said = str(offer)
        values = CONDITION.sub("", said)
        fields = [f"config.{field}" for field in self.changed]
        return next((rank for rank, text in enumerate((values, said)) if any(field in text for field in fields)), 2)

    def _is_named(self, offer: Offer) -> bool:
        """Whether a key reads a field that nobody reads, and has its name, or a word of it: `window`
        config.window_size; or ends as one that the key reads by itself: `width` config.dense_intermediate_size; or
        whether a key says how what the changed field switches on is rounded: `bias_rounding` bias."""
        last = {str(path[-1]) for path, _ in offer.puts if path}
        if any(is_dtype_key(key) and {*key.split("_")} & {*self.changed} for key in last):
            return True
        fields = [(one, [one, *one.split("_")]) for one in (*self.changed, *self.unread)]
        puts = [(str(path[-1]), repr(value)) for path, value in offer.puts if path]
        return any(
            (key in words or field.endswith(usual_fields().get(key, ()))) and f"config.{field}" in said
            for key, said in puts
            for field, words in fields
        )

    def _reads(self, offer: Offer) -> bool:
        said = str(offer)
        return offer.tier == SAID and any(f"config.{name}" in said for name in self.unread)

    def _place(self, offer: Offer) -> int:
        if self.wrong is None:
            return OPEN
        named = [{*path} & {*ROLES} for path, _ in offer.puts]
        if any(one & self.wrong for one in named):
            return WRONG
        return RIGHT if named and all(one & {*WHOLE} for one in named) else OPEN

    def _inside(self) -> list[str]:
        """What differs in layers, by its path below the layer, none that holds another."""
        if not self.stack:
            return []
        wrong = [one.where for one in self.stop.inmost if one.where.startswith(self.stack)]
        return [one[len(self.stack) :].partition(".")[2] for one in wrong]

    def _is_partial(self) -> bool:
        inside = self._inside()
        return any(inside.count(one) < sum(path.endswith(f".{one}") for path in self.stop.order) for one in inside)

    def _wrong_roles(self) -> set[str] | None:
        """The modules of a part that differ by themselves; None where no part does."""
        found, parts = set[str](), False
        for flat in self.candidate.flats() if self.stack else ():
            holders = tuple(f"{name_in_memory(flat, part)}." for part in PARTS)
            for path in (one for one in self._inside() if f"{one}.".startswith(holders)):
                parts, tail = True, next(f"{path}."[len(one) :] for one in holders if f"{path}.".startswith(one))
                found |= {role for role in ROLES if tail.startswith(f"{name_in_memory(flat, role)}.")}
                found |= {"router"} if ROUTING in path else set()
        return found if parts else None
