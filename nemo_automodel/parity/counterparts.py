"""Which modules of two models compute the same."""

from functools import partial
from typing import Any

import torch
from torch import nn

from nemo_automodel.parity.batches import Batch

NOTHING = nn.Module.forward  # of modules that only hold others


def counterparts(ours: nn.Module, reference: nn.Module, batch: Batch) -> list[list[str]]:
    """Paths that both models have, one list for each depth, where both modules do the same."""
    theirs = dict(reference.named_modules())
    for path in cut_elsewhere(reference, batch):
        del theirs[path]
    shared = [path for path, module in ours.named_modules() if path in theirs and alike(module, theirs[path])]
    depths: dict[int, list[str]] = {}
    for path in filter(None, shared):
        depths.setdefault(sum(path.startswith(other + ".") for other in shared if other), []).append(path)
    return [depths[depth] for depth in sorted(depths)]


def alike(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether both compute something, and both or neither of them with a bias of their own."""
    biases = {getattr(module, "bias", None) is not None for module in (ours, theirs)}
    return type(ours).forward is not NOTHING and len(biases) == 1


def cut_elsewhere(reference: nn.Module, batch: Batch) -> list[str]:
    """Paths of modules that do more or less than one would by their names.

    They are given two equally shaped tensors of floating-point numbers, of which one is the residual, added inside; or
    they hand out a parameter, which is applied outside; or they run piece by piece (the activation of experts).
    """
    found: dict[str, None] = {}
    sizes: dict[str, list[torch.Size]] = {}
    parameters = set(map(id, reference.parameters()))

    def enter(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        shapes = [value.shape for value in given if value.is_floating_point()]
        if len(shapes) > 1 and shapes[0] in shapes[1:] or sizes.setdefault(path, shapes) != shapes:
            found[path] = None

    def leave(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, tuple) and any(id(value) in parameters for value in output):
            found[path] = None

    handles = []
    for path, module in reference.named_modules():
        handles.append(module.register_forward_pre_hook(partial(enter, path), with_kwargs=True))
        handles.append(module.register_forward_hook(partial(leave, path)))
    with torch.no_grad():
        reference(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    for handle in handles:
        handle.remove()
    return list(found)
