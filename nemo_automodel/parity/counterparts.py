"""Which modules of two models compute the same."""

from collections.abc import Callable, Container
from functools import partial
from typing import Any

import torch
from torch import nn

from nemo_automodel.components.models.common.combined_projection.packing import Part
from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.tracing import align, first_tensor

Values = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]  # by path: what it gets, and hands out
NOTHING = nn.Module.forward  # of modules that only hold others


def counterparts(ours: nn.Module, reference: nn.Module, batch: Batch) -> list[list[str]]:
    """Paths that both models have, one list for each depth, where both modules do the same."""
    return beside(ours, reference, {*cut_elsewhere(reference, batch), *given_otherwise(ours, reference, batch)})


def beside(ours: nn.Module, reference: nn.Module, apart: Container[str]) -> list[list[str]]:
    """Paths that both models have, one list for each depth, but those `apart`."""
    theirs = {path: module for path, module in reference.named_modules() if path not in apart}
    shared = [path for path, module in ours.named_modules() if path in theirs and alike(module, theirs[path])]
    depths: dict[int, list[str]] = {}
    for path in filter(None, shared):
        depths.setdefault(sum(path.startswith(other + ".") for other in shared if other), []).append(path)
    return [depths[depth] for depth in sorted(depths)]


def without_counterpart(ours: nn.Module, reference: nn.Module, batch: Batch) -> dict[str, str]:
    """Components of ours with parameters of their own that nothing in the reference stands beside, and the component
    as a part of which each is judged; "" is the whole model."""
    compared = {path for depth in counterparts(ours, reference, batch) for path in depth}
    own = [path for path, module in ours.named_modules() if path and any(True for _ in module.parameters(False))]
    return {path: _around(path, compared) for path in own if path not in compared}


def _around(path: str, compared: set[str]) -> str:
    while path and path not in compared:
        path = path.rpartition(".")[0]
    return path


def alike(ours: nn.Module, theirs: nn.Module) -> bool:
    """Whether both compute something, and both or neither of them with a bias of their own."""
    if isinstance(ours, Part | nn.Conv1d):  # nobody calls them: they hold weights
        return False
    biases = {getattr(module, "bias", None) is not None for module in (ours, theirs)}
    return type(ours).forward is not NOTHING and len(biases) == 1


def given_otherwise(ours: nn.Module, reference: nn.Module, batch: Batch) -> list[str]:
    """Paths where the two get different values: experts of which each gets its tokens, or all of them, weighted; or
    where they hand out several values, of which the first are different ones: routers, tables of sines and cosines."""
    return otherwise(first_values(ours, batch), first_values(reference, batch))


def otherwise(ours: Values, reference: Values) -> list[str]:
    """Paths of which the first values of the two are different ones."""
    found: list[str] = []
    for mine, theirs in zip(ours, reference, strict=True):
        shared = mine.keys() & theirs.keys()
        found += [path for path in shared if _differ(align(mine[path], theirs[path]), theirs[path])]
    return found


def _differ(mine: torch.Tensor, theirs: torch.Tensor) -> bool:
    """Whether they are of other shapes, or a stacked pair in the other order: GPT-J's sines stand before its cosines,
    and an exchange brings the two together, up to the rounding of a half precision."""
    if mine.shape != theirs.shape or len(mine) != 2:
        return mine.shape != theirs.shape
    return bool((mine.flip(0) - theirs).abs().max() < 0.05 * (mine - theirs).abs().max())


def first_values(model: nn.Module, batch: Batch) -> Values:
    """By path, the first floating-point tensor that each module gets, and what it hands out if that is several."""
    given: dict[str, torch.Tensor] = {}
    made: dict[str, torch.Tensor] = {}

    def enter(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
        first = next((value for value in values if value.is_floating_point()), None)
        if first is not None:
            given.setdefault(path, first.detach())

    def leave(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, tuple) and any(isinstance(value, torch.Tensor) for value in output):
            made.setdefault(path, first_tensor(output).detach())

    _run(model, batch, enter, leave)
    return given, made


def _run(model: nn.Module, batch: Batch, enter: Callable[..., None], leave: Callable[..., None] | None = None) -> None:
    """A forward in which `enter` and `leave` see what each module, named by its path, gets and gives."""
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(partial(enter, path), with_kwargs=True))
        if leave is not None:
            handles.append(module.register_forward_hook(partial(leave, path)))
    with torch.no_grad():
        model(**batch.inputs, use_cache=False)
    for handle in handles:
        handle.remove()


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

    _run(reference, batch, enter, leave)
    return list(found)
