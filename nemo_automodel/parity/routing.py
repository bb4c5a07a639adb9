"""Which experts tokens get, taken from one run and forced upon another.

In half precision a router's choice between near-equal experts is chance, and another expert's output is far from the
truth: beside it no rounding shows. So the comparison of roundings fixes the choices, and counts apart how many would
have been others.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from nemo_automodel.parity.compare import Check
from nemo_automodel.parity.tolerances import flips_bound

TOPK = (torch.topk, torch.Tensor.topk)


@dataclass
class Choices:
    """The k best of every `topk` of a run, in the order of the calls, and how many rows a forced run would change."""

    made: list[torch.Tensor] = field(default_factory=list)
    rows: int = 0
    flips: int = 0


class _Record(TorchFunctionMode):
    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self.choices = choices

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in TOPK:
            self.choices.made.append(out[1])
        return out


class _Force(TorchFunctionMode):
    def __init__(self, choices: Choices, real: torch.Tensor) -> None:
        super().__init__()
        self.choices, self.left, self.real = choices, iter(choices.made), real.flatten()

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func not in TOPK:
            return out
        forced = next(self.left)
        dim = (kwargs or {}).get("dim", args[2] if len(args) > 2 else -1)
        other = (out[1].sort(dim).values != forced.sort(dim).values).any(dim)[self.real]
        self.choices.rows += other.numel()
        self.choices.flips += int(other.sum())
        scores = args[0] if args else (kwargs or {})["input"]
        return torch.return_types.topk((scores.gather(dim, forced), forced))


@contextmanager
def recorded() -> Iterator[Choices]:
    """Within, every choice of k best is noted."""
    choices = Choices()
    with _Record(choices):
        yield choices


@contextmanager
def forced(made: Choices, real: torch.Tensor) -> Iterator[Choices]:
    """Within, the same calls choose what `made` chose. What is counted is of this run, at the tokens `real` [B, S].

    Raises StopIteration where more is chosen, RuntimeError where the shapes differ: another model, or other inputs.
    """
    choices = Choices(made.made)
    with _Force(choices, real):
        yield choices


def flips(level: str, ours: Choices, reference: Choices) -> list[Check]:
    """One check: how many choices rounding turns, beside the reference's own; none where nothing is chosen."""
    if not ours.rows:
        return []
    note = f"of {ours.rows} choices, the reference's {reference.flips}"
    return [Check(level, "choices that rounding turns", float(ours.flips), flips_bound(reference.flips), note)]
