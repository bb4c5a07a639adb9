"""The components of a model that differ from those of a reference, each given what that one received."""

import torch
from torch import nn

from nemo_automodel.parity.asked import Difference
from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.counterparts import beside, first_values, otherwise
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.tolerances import FP32
from nemo_automodel.parity.tracing import align, traced


class Differences(list[Difference]):
    """What differs, and how many modules of the reference nothing stands beside."""

    unseen = 0


def differences(ours: nn.Module, oracle: Oracle, batch: str, half: bool = False) -> list[Difference]:
    """The components that differ, each given what the reference's received, in the order of its run; inner ones too."""
    depths = _depths(ours, oracle)
    found = {one.where: one for paths in depths for one in cut(ours, oracle, batch, paths, half)}
    made = Differences(found[path] for path in oracle.order if path in found)
    made.unseen = len(oracle.order) - sum(map(len, depths))
    return made


def cut(ours: nn.Module, oracle: Oracle, batch: str, paths: list[str], half: bool) -> list[Difference]:
    """Those of the paths that differ, none of them inside another."""
    theirs, given = oracle.trace(batch, half), oracle.batches[batch]
    with torch.no_grad(), traced(ours, paths, theirs) as mine:
        ours(**given.inputs, use_cache=False)
    errors = {
        path: _distance(mine.outputs[path], theirs.outputs[path], given.real, half)
        for path in paths
        if path in mine.outputs and path in theirs.outputs
    }
    return [Difference(path, error) for path, error in errors.items() if not error <= (0 if half else FP32)]


def _distance(ours: torch.Tensor, theirs: torch.Tensor, real: torch.Tensor, half: bool) -> float:
    """At the positions that hold tokens, where there are such; in half precision the part of the values that differ."""
    ours = align(ours, theirs)
    if theirs.shape[:2] == real.shape and ours.shape == theirs.shape:
        ours, theirs = ours[real], theirs[real]
    if half and ours.shape == theirs.shape:
        return (ours != theirs).float().mean().item()
    return distance(ours, theirs)


def _depths(ours: nn.Module, oracle: Oracle) -> list[list[str]]:
    """Paths that both have, one list for each depth; without what gets or gives other things in the two."""
    here = first_values(ours, oracle.batches["short"])
    return beside(ours, oracle.reference.model, {*oracle.cut_elsewhere, *otherwise(here, oracle.first_values)})
