"""Hidden states from the embedding on, whichever of two habits a model has."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class FirstLayer:
    """What the first layer read and gave."""

    given: torch.Tensor | None = None
    made: torch.Tensor | None = None

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
        self.given = args[0] if args else kwargs.get("hidden_states")
        self.made = made[0] if isinstance(made, tuple) else made

    def in_order(self, states: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """Embedding, each layer, and the last after the final norm. Mamba's classes leave out the embedding, and have
        the last twice, before the norm and after."""
        begins_later = self.given is not None and len(states) > 2 and states[0] is self.made
        return (self.given, *states[:-2], states[-1]) if begins_later else states


@contextmanager
def first_layer(model: nn.Module) -> Iterator[FirstLayer]:
    """Watches the first of a model's layers."""
    seen, count = FirstLayer(), getattr(getattr(model, "config", None), "num_hidden_layers", None)
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    hooks = [stack[0].register_forward_hook(seen, with_kwargs=True) for stack in stacks[:1]]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
