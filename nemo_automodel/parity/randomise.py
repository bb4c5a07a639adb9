"""Weights under which mistakes show: by default attention is almost uniform, and every norm has the weight one."""

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

SPREAD = 0.1  # of vectors, around the value at which they start
SHIFT = -0.6  # of buffers: corrections of scores, which choose alike but for what is masked with a number


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> None:
    """Re-draws every stored parameter and buffer in place.

    Matrices get the standard deviation 1/sqrt(fan_in), vectors 0.1 around their start, and buffers are shifted so that
    corrected scores are often below 0. Tied tensors stay tied. Buffers that are not saved (tables of angles) or not
    one-dimensional (causal masks held as floats) are derived and stay.
    """
    generator = torch.Generator().manual_seed(seed)
    stored = model.state_dict()
    transposed = {id(module.weight) for module in model.modules() if isinstance(module, Conv1D)}
    for _, tensor in model.named_parameters():
        _redraw(tensor, generator, 0 if id(tensor) in transposed else -1)
    for name, tensor in model.named_buffers():
        if name in stored and tensor.dim() == 1 and tensor.is_floating_point():
            _redraw(tensor.add_(SHIFT), generator, -1)


def _redraw(tensor: torch.Tensor, generator: torch.Generator, fan_in: int) -> None:
    if not tensor.is_floating_point():
        return
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor.dtype)
    if tensor.dim() < 2:
        tensor.add_(SPREAD * noise)
    else:
        tensor.copy_(noise * tensor.shape[fan_in] ** -0.5)
