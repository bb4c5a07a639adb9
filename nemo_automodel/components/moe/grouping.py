"""Choices sorted by expert, so that each expert sees one contiguous slice of rows."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Groups:
    """S rows in the order of their experts: one for each choice of an expert that is here, and filling.

    choices [S]: which of the T * k choices a row serves; filling repeats a choice of the same expert.
    is_choice [S]: False at filling. rows [T, k]: the row of each choice, S where the expert is not here.
    sizes: the number of rows of each expert.
    """

    choices: torch.Tensor
    is_choice: torch.Tensor
    rows: torch.Tensor
    sizes: list


def sort_choices(indices, experts):
    """indices [T, k] -> order [T * k] of the choices by expert, and counts [E]; ids from E on come last, uncounted."""
    flat = indices.flatten()
    order = flat.argsort(stable=True)
    starts = torch.searchsorted(flat[order], torch.arange(experts + 1, device=flat.device))
    return order, starts.diff()


def group(indices, experts, coarse=False):
    """indices [T, k] -> Groups. `coarse` rounds each expert's number of rows up, so that few different sizes occur.

    A CPU compiles a bfloat16 product for each new shape (oneDNN, about 0.6 ms), and routing makes new ones every step.
    """
    order, counts = sort_choices(indices, experts)
    sizes = _rounded(counts) if coarse else counts
    expert = torch.repeat_interleave(sizes)
    place = torch.arange(len(expert), device=order.device) - (sizes.cumsum(0) - sizes)[expert]  # within its expert
    source = (counts.cumsum(0) - counts)[expert] + place.minimum(counts[expert] - 1)
    choices, is_choice = order[source], place < counts[expert]
    rows = torch.full((indices.numel(),), len(expert), device=order.device)
    rows[choices[is_choice]] = is_choice.nonzero().flatten()
    return Groups(choices, is_choice, rows.view_as(indices), sizes.tolist())


def _rounded(counts):
    """Up to a multiple of 8, or of a sixteenth of the power of two below, if that is more: few sizes, little waste."""
    step = (2 ** (counts.clamp(min=1).log2().floor() - 4)).clamp(min=8).long()
    return (counts + step - 1) // step * step
