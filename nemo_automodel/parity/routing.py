"""Which experts tokens get, taken from one run and forced upon another.

In half precision a router's choice between near-equal experts is chance, and another expert's output is far from the
truth: beside it no rounding shows. So the comparison of roundings fixes the choices, and counts apart how many would
have been others.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch

from nemo_automodel.parity.compare import Check
from nemo_automodel.parity.tolerances import flips_bound

Topk = Callable[..., Any]
WHERE = (torch, torch.Tensor)  # that have a `topk`: a mode of torch would look at every function of a run


@dataclass
class Choices:
    """The k best of every `topk` of a run, in the order of the calls, and how many rows a forced run would change."""

    made: list[torch.Tensor] = field(default_factory=list)
    rows: int = 0
    flips: int = 0


@contextmanager
def _instead(wrapped: Callable[[Topk], Topk]) -> Iterator[None]:
    """Within, `topk` is what `wrapped` makes of it."""
    with ExitStack() as stack:
        for place in WHERE:
            stack.enter_context(patch.object(place, "topk", wrapped(place.topk)))
        yield


def _record(choices: Choices, topk: Topk, *args: Any, **kwargs: Any) -> Any:
    out = topk(*args, **kwargs)
    choices.made.append(out[1])
    return out


def _force(
    choices: Choices, left: Iterator[torch.Tensor], real: torch.Tensor, topk: Topk, *args: Any, **kwargs: Any
) -> Any:
    out, forced = topk(*args, **kwargs), next(left)
    dim = kwargs.get("dim", args[2] if len(args) > 2 else -1)
    other = (out[1].sort(dim).values != forced.sort(dim).values).any(dim)[real]
    choices.rows += other.numel()
    choices.flips += int(other.sum())
    scores = args[0] if args else kwargs["input"]
    return torch.return_types.topk((scores.gather(dim, forced), forced))


@contextmanager
def recorded() -> Iterator[Choices]:
    """Within, every choice of k best is noted."""
    choices = Choices()
    with _instead(lambda topk: lambda *args, **kwargs: _record(choices, topk, *args, **kwargs)):
        yield choices


@contextmanager
def forced(made: Choices, real: torch.Tensor) -> Iterator[Choices]:
    """Within, the same calls choose what `made` chose. What is counted is of this run, at the tokens `real` [B, S].

    Raises StopIteration where more is chosen, RuntimeError where the shapes differ: another model, or other inputs.
    """
    choices = Choices(made.made)
    left, tokens = iter(made.made), real.flatten()
    with _instead(lambda topk: lambda *args, **kwargs: _force(choices, left, tokens, topk, *args, **kwargs)):
        yield choices


def flips(level: str, ours: Choices, reference: Choices) -> list[Check]:
    """One check: how many choices rounding turns, beside the reference's own; none where nothing is chosen."""
    if not ours.rows:
        return []
    note = f"of {ours.rows} choices, the reference's {reference.flips}"
    return [Check(level, "choices that rounding turns", float(ours.flips), flips_bound(reference.flips), note)]
