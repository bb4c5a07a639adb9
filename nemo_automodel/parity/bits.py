"""Bit for bit in bf16: dtypes and the order of additions are the reference's."""

import torch
from torch import nn

from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.components import measure
from nemo_automodel.parity.counterparts import counterparts
from nemo_automodel.parity.ours import has_one_order


def other_bits(ours: nn.Module, reference: nn.Module, batch: Batch) -> list[str]:
    """Paths of the components whose outputs differ, each given what the reference's received; both models are in bf16.

    States are summed chunk by chunk, and not as references do: what holds one is left out.
    """
    found: list[str] = []
    for paths in counterparts(ours, reference, batch):
        given, theirs = measure(reference, paths, batch)
        _, mine = measure(ours, paths, batch, given)
        outputs = {path: f"{path}: output" for path in paths if has_one_order(ours.get_submodule(path))}
        found += [path for path, out in outputs.items() if out in theirs and not torch.equal(mine[out], theirs[out])]
    return found
