"""The components of a model that differ from those of a reference, each given what that one received."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from nemo_automodel.parity.asked import LARGEST, Difference
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.counterparts import beside, first_values, otherwise
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.routing import Routing, routings
from nemo_automodel.parity.tolerances import FP32
from nemo_automodel.parity.tracing import align, traced

ROUTING = ".routing: "  # between what holds experts and how their weights differ
SUMS = "sums"


class Differences(list[Difference]):
    """What differs, and how many modules of the reference nothing stands beside."""

    unseen = 0


def differences(ours: nn.Module, oracle: Oracle, batch: str, half: bool = False) -> list[Difference]:
    """The components that differ, each given what the reference's received, in the order of its run; inner ones too."""
    depths = _depths(ours, oracle)
    found = {one.where: one for paths in depths for one in cut(ours, oracle, batch, paths, half)}
    found |= {one.where: one for one in routed(ours, oracle, batch, half)}
    order = {path: turn for turn, path in enumerate(oracle.order)}
    made = Differences(sorted(found.values(), key=lambda one: order.get(one.where.partition(ROUTING)[0], -1)))
    made.unseen = len(oracle.order) - sum(map(len, depths))
    return made


def again(
    ours: nn.Module, oracle: Oracle, batch: str, before: Sequence[Difference], half: bool = False
) -> list[Difference]:
    """Those of some differences that are still there. Modules that do not hold each other are seen in one forward."""
    routing = oracle.routing(batch, half)
    paths = [one.where for one in before if ROUTING not in one.where and one.where not in routing]
    found = cut(ours, oracle, batch, paths, half)
    if len(paths) < len(before):
        found += routed(ours, oracle, batch, half)
    return found


def cut(ours: nn.Module, oracle: Oracle, batch: str, paths: list[str], half: bool) -> list[Difference]:
    """Those of the paths that differ, none of them inside another; experts are left to `routed`."""
    paths = [path for path in paths if path not in oracle.routing(batch, half)]
    theirs, given = oracle.trace(batch, half), oracle.batches[batch]
    with torch.no_grad(), traced(ours, paths, theirs) as mine:
        ours(**given.inputs, use_cache=False)
    errors = {
        path: _distance(mine.outputs[path], theirs.outputs[path], given.real, half)
        for path in paths
        if path in mine.outputs and path in theirs.outputs
    }
    return [Difference(path, error) for path, error in errors.items() if not error <= (0 if half else FP32)]


def routed(ours: nn.Module, oracle: Oracle, batch: str, half: bool) -> list[Difference]:
    """Experts that differ, each given the weights that the reference's got; and how these differ from ours: which
    experts are chosen, in what proportions, with what sum."""
    theirs, there = oracle.routing(batch, half), {path for path, _ in ours.named_modules()}
    paths = [path for path in theirs if path in there]
    if not paths:
        return []
    trace, given = oracle.trace(batch, half), oracle.batches[batch]
    holders = [path.rpartition(".")[0] for path in paths]
    mine = {path: theirs[path] for path in paths}
    with (
        torch.no_grad(),
        traced(ours, holders, trace),
        routings(ours, paths, mine) as seen,
        traced(ours, paths) as made,
    ):
        ours(**given.inputs, use_cache=False)
    found: list[Difference] = []
    for path, holder in zip(paths, holders, strict=True):
        if path not in seen or path not in made.outputs:
            continue
        found += [
            Difference(f"{holder}{ROUTING}{what}", error)
            for what, error in unlike(seen[path], theirs[path], given.real.flatten())
            if not error <= FP32
        ]
        if not half:
            error = _distance(made.outputs[path], trace.outputs[path], given.real, half)
            found += [Difference(path, error)] if not error <= FP32 else []
    return found


def unlike(ours: Routing, theirs: Routing, real: torch.Tensor) -> Iterator[tuple[str, float]]:
    """(what, by how much) of the weights of the tokens that are real: bool [T]."""
    mine, wanted = ours.dense(), theirs.dense()
    if mine.shape != wanted.shape:
        yield "experts", LARGEST
        return
    if len(mine) == len(real):
        mine, wanted = mine[real], wanted[real]
    same = ((mine != 0) == (wanted != 0)).all(dim=1)
    yield "chosen", (~same).float().mean().item()
    mine, wanted = mine[same], wanted[same]
    sums = mine.sum(dim=1, keepdim=True), wanted.sum(dim=1, keepdim=True)
    yield "proportions", distance(mine / sums[0], wanted / sums[1]) if len(mine) else 1.0
    yield SUMS, distance(*sums) if len(mine) else 1.0


def _distance(ours: torch.Tensor, theirs: torch.Tensor, real: torch.Tensor, half: bool) -> float:
    """At the positions that hold tokens, where there are such; in half precision the part of the values that differ."""
    ours = align(ours, theirs)
    tokens = real if theirs.shape[:2] == real.shape else real.flatten()  # [B, T, D], or all texts in one
    if theirs.shape[: tokens.dim()] == tokens.shape and ours.shape == theirs.shape:
        ours, theirs = ours[tokens], theirs[tokens]
    if half and ours.shape == theirs.shape:
        return (ours != theirs).float().mean().item()
    return distance(ours, theirs)


def _depths(ours: nn.Module, oracle: Oracle) -> list[list[str]]:
    """Paths that both have, one list for each depth; without what gets or gives other things in the two."""
    here = first_values(ours, oracle.batches["short"])
    return beside(ours, oracle.reference.model, {*oracle.cut_elsewhere, *otherwise(here, oracle.first_values)})
