"""Roles that a candidate does not have, under the names of tensors that it does not expect."""

from collections.abc import Iterator, Sequence
from itertools import product

from codegen.language.keys import keys
from codegen.language.spec import ROLE_NAMES, Spec
from codegen.new.schedules import told_by_number
from nemo_automodel.parity.infer.below import keys_below
from nemo_automodel.parity.infer.candidate import PARTS, Candidate
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import FITS, NEEDED, SAID, Offer
from nemo_automodel.parity.mutant import Path
from nemo_automodel.parity.mutate_text import UNCALLED, equation_mutants, lines_of


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


def uncalled(candidate: Candidate, stop: Stop, number: int) -> Iterator[Offer]:
    """The block without the call of a module that some layers lack. number: of all layers."""
    if candidate.problems or stop.what != "tensors" or stop.unexpected:
        return
    stack = candidate.layers() + "."
    inside = [one.removeprefix(stack).partition(".") for one in stop.missing if one.startswith(stack)]
    entries = candidate.body.listed("layers")
    for name in dict.fromkeys(path.rpartition(".")[0] for _, _, path in inside):
        layers = {int(layer) for layer, _, path in inside if path.startswith(f"{name}.")}
        condition = told_by_number(layers, number) or f"layer in {sorted(layers)}"
        for block in dict.fromkeys(tuple(lines_of(flat, "block")) for flat in candidate.flats()):
            lines = [
                next((other for done, other in equation_mutants(line) if done == f"{UNCALLED} {name}"), line)
                for line in block
            ]
            if [*block] != lines:
                yield Offer(((("layers",), [*entries, {"when": condition, "block": lines}]),), NEEDED, True, FITS)


def other_blocks(candidate: Candidate, stop: Stop) -> Iterator[tuple[Path, list[str]]]:
    """The blocks of a candidate's models, which another one may have too, where modules are missing in a changed
    config."""
    if not candidate.problems and stop.what == "tensors" and stop.missing:
        for block in dict.fromkeys(tuple(lines_of(flat, "block")) for flat in candidate.flats()):
            yield ("block",), [*block]


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
