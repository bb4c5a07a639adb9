"""Cuts a model at chosen modules, so that each is seen apart from what precedes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn


@dataclass
class Trace:
    """Inputs (leaves of the graph) and outputs of the traced modules, by path, in the order in which they started."""

    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)


@contextmanager
def traced(model: nn.Module, paths: list[str], given: Trace | None = None) -> Iterator[Trace]:
    """Within, the modules at `paths` work on detached inputs: their own, or those of `given` (another model's trace).

    The first call of a module is traced, and the first floating-point tensor among its arguments. Arguments that are no
    floating-point tensors (token ids) stay as they are.
    """
    trace = Trace()
    handles = []
    for path in paths:
        module = model.get_submodule(path)
        source = given.inputs.get(path) if given else None
        handles.append(module.register_forward_pre_hook(partial(_enter, trace, path, source), with_kwargs=True))
        handles.append(module.register_forward_hook(partial(_leave, trace, path)))
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _enter(
    trace: Trace,
    path: str,
    source: torch.Tensor | None,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if path in trace.inputs:
        return None
    for key, value in [*enumerate(args), *kwargs.items()]:
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            leaf = (value if source is None else align(source, value).to(value.dtype)).detach().clone().requires_grad_()
            trace.inputs[path] = leaf
            if isinstance(key, str):
                return args, {**kwargs, key: leaf}
            return (*args[:key], leaf, *args[key + 1 :]), kwargs
    return None


def _leave(trace: Trace, path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """What follows gets a copy: some references clamp a projection in place."""
    if path not in trace.outputs:
        trace.outputs[path] = first_tensor(output)
    return output.clone() if isinstance(output, torch.Tensor) else None


def first_tensor(output: Any) -> torch.Tensor:
    """The output, the first of several, or equally shaped ones (a table's cosines and sines) stacked, also
    where they are complex numbers."""
    if isinstance(output, torch.Tensor):
        return torch.stack((output.real, output.imag)) if output.is_complex() else output
    values = output if isinstance(output, tuple | list) else output.to_tuple()
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    if len(tensors) > 1 and len({tensor.shape for tensor in tensors}) == 1:
        return torch.stack(tensors)
    return tensors[0]


def align(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`tensor` in the layout of `like`, which holds the same values: heads before or after positions [B, N, S, D], one
    head with or without its dimension, angles once or twice, all texts in one [B * S, D], one row for all texts. What
    fits no way stays, and then differs by its shape."""
    if tensor.shape == like.shape:
        return tensor
    if [size for size in tensor.shape if size != 1] == [size for size in like.shape if size != 1]:
        return tensor.reshape(like.shape)
    if tensor.dim() == like.dim() == 3 and len(tensor) == 1 and tensor.shape[1:] == like.shape[1:]:
        return tensor.expand_as(like)  # positions that are the same for all texts
    if tensor.dim() == 4 and tensor.transpose(1, 2).shape == like.shape:
        return tensor.transpose(1, 2)
    if tensor.dim() == like.dim() == 4 and tensor.shape[1] == 1:  # a table of one row for all texts
        tensor = tensor.expand(-1, like.shape[1], -1, -1)
    if tensor.shape[:-1] == like.shape[:-1] and 2 * tensor.shape[-1] == like.shape[-1]:
        first, second = like.chunk(2, dim=-1)
        return (
            tensor.repeat(*[1] * (tensor.dim() - 1), 2)
            if torch.equal(first, second)
            else tensor.repeat_interleave(2, -1)
        )
    if tensor.shape[-1] == like.shape[-1] and tensor.numel() == like.numel():
        return tensor.reshape(like.shape)
    return tensor
