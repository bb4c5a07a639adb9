"""What experts are given beside tokens: their numbers and weights. transformers' experts take both as arguments."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Routing:
    """indices, weights: [T, k]. count: of the experts."""

    indices: torch.Tensor
    weights: torch.Tensor
    count: int

    def dense(self) -> torch.Tensor:
        """[T, E], fp32: every expert's weight."""
        zeros = torch.zeros(len(self.indices), self.count)
        inside = self.indices < self.count
        weights = self.weights.float() * inside
        return zeros.scatter_add(1, self.indices.clamp(max=self.count - 1), weights)


@contextmanager
def routings(
    model: nn.Module, paths: Sequence[str], given: Mapping[str, Routing] | None = None
) -> Iterator[dict[str, Routing]]:
    """Within, what the experts at `paths` are given first is kept; with `given` they are given that instead."""
    found: dict[str, Routing] = {}
    handles = [
        model.get_submodule(path).register_forward_pre_hook(partial(_enter, found, path, (given or {}).get(path)))
        for path in paths
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _enter(
    found: dict[str, Routing], path: str, given: Routing | None, module: nn.Module, args: tuple[Any, ...]
) -> tuple[Any, ...] | None:
    if path in found or not _are_routed(args):
        return None
    tokens, indices, weights = args
    count = getattr(module, "num_experts", None) or int(indices.max()) + 1
    found[path] = Routing(indices.detach().clone(), weights.detach().clone(), int(count))
    return None if given is None else (tokens, given.indices.to(indices.dtype), given.weights.to(weights.dtype))


def _are_routed(args: tuple[Any, ...]) -> bool:
    """Whether they are tokens [T, D], numbers [T, k] and weights [T, k]."""
    if len(args) != 3 or not all(isinstance(one, torch.Tensor) and one.dim() == 2 for one in args):
        return False
    tokens, indices, weights = args
    alike = indices.shape == weights.shape and len(tokens) == len(indices)
    return alike and not indices.is_floating_point() and weights.is_floating_point()
