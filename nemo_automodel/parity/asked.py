"""What a model is asked beside the answers of a reference: by mutants of a spec, and by specs that are looked for."""

from dataclasses import dataclass
from typing import Any

from nemo_automodel.parity import end_to_end, memory, mixtures
from nemo_automodel.parity.compare import compare_fp32, distance, failures
from nemo_automodel.parity.reference_answers import Measured
from nemo_automodel.parity.tolerances import FP32

NOWHERE = "whole"
LARGEST = 1e3  # beyond which an error says no more


@dataclass(frozen=True)
class Difference:
    """One thing that differs: the path of a component or the name of a tensor, and by how much."""

    where: str
    error: float = LARGEST


def embedded(ours: Any, measured: Measured) -> list[Difference]:
    """What is scaled within the lookup is not scaled where embeddings are given."""
    if measured.embeds is None:
        return []
    return beyond(distance(measured.embedded(ours), measured.logits_of_embeds))


def in_memory(ours: Any, measured: Measured) -> list[Difference]:
    """Names of tensors and modules."""
    found = failures(memory.compare(measured.reference.model, ours))
    return [Difference(one.note, one.error) for one in found]


def balance(ours: Any, measured: Measured) -> list[Difference]:
    """The loss that balances experts, where there are experts: with such a loss, or without as the reference."""
    if not mixtures.mixtures(ours):
        return []
    mine, wanted = mixtures.balanced_loss(ours, measured.batches["plain"]), measured.balanced_loss
    if mine is None or wanted is None:
        return [] if mine is wanted else [Difference(NOWHERE)]
    return beyond(distance(mine, wanted))


def gradients(ours: Any, measured: Measured) -> list[Difference]:
    """Logits, hidden states, the loss and the gradients of all that `ours` holds."""
    mine = end_to_end.measure(ours, measured.batches["plain"])
    found = failures(compare_fp32("gradients", mine, measured.gradients, measured.in_fp64, measured.elsewhere))
    return [Difference(one.what, one.error) for one in found]


def packed(ours: Any, measured: Measured) -> list[Difference]:
    """Logits of a model with packed projections."""
    return beyond(distance(measured.run(ours, "plain"), measured.logits["plain"]))


def training(ours: Any, measured: Measured) -> list[Difference]:
    """Dropout draws the same numbers in the same places. `ours` is in train mode."""
    return beyond(distance(measured.train_loss(ours), measured.loss_in_training))


def beyond(error: float) -> list[Difference]:
    """Of the whole, where an error is above the bound of fp32 (or is no number)."""
    return [] if error <= FP32 else [Difference(NOWHERE, error)]
