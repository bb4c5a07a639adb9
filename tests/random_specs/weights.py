"""Weights under which mistakes show, drawn for the tensors of a checkpoint."""

from collections.abc import Mapping

import torch

SPREAD = 0.1  # of vectors, around the value at which they start
SHIFT = -0.3  # of correction biases: corrected scores are often below 0


def drawn(stored: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Matrices have the standard deviation 1/sqrt(columns), vectors 0.1 around their start."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name in sorted(stored):
        tensor = stored[name]
        noise = torch.randn(tensor.shape, generator=generator)
        small = tensor.dim() < 2 or "norm" in name
        start = tensor + SHIFT * ("correction" in name)
        found[name] = start + SPREAD * noise if small else noise * tensor.shape[-1] ** -0.5
    return found
