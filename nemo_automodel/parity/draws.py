"""Numbers that models draw while they train: those of dropouts are compared, and no others."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

from nemo_automodel.components.models.common.releases import DRAWS_FOR_LAYERS


@contextmanager
def drawing_for_dropouts_alone() -> Iterator[None]:
    """Within, no number is drawn for a layer that always stays, nor for noise upon tokens, nor for choices of experts
    (PhiMoE's sampling in training, which ours leaves out): each such number is its mean."""
    drawn = torch.rand

    def rand(*size: Any) -> torch.Tensor:
        return torch.ones(()) if size == ([],) else drawn(*size)

    with ExitStack() as patches:
        for owner, name, mean in (
            (torch.Tensor, "exponential_", lambda x: x.fill_(1.0)),
            (torch.Tensor, "uniform_", lambda x, low=0.0, high=1.0: x.fill_((low + high) / 2)),
            (torch, "rand_like", lambda x: torch.full_like(x, 0.5)),
            *([(torch, "rand", rand)] if DRAWS_FOR_LAYERS else []),
        ):
            patches.enter_context(patch.object(owner, name, mean))
        yield
