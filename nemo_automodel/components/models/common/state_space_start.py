"""Values before training of mixers whose states decay by steps of time (Mamba, Mamba-2)."""

import math

import torch
from transformers import initialization as init


def start_decay(A_log, D):
    """The logarithms of 1, 2, 3, ... in each row of A_log, and ones in D."""
    init.copy_(A_log, torch.arange(1, A_log.shape[-1] + 1, device=A_log.device).float().log().expand_as(A_log))
    init.ones_(D)


def start_steps(config, bias):
    """Steps, of which softplus of the bias is one, spread evenly on a log scale; of softplus(1) where a config has no
    bounds of them."""
    least = getattr(config, "time_step_floor", None)
    if least is None:
        init.ones_(bias)
        return
    low, high = math.log(config.time_step_min), math.log(config.time_step_max)
    steps = torch.rand(len(bias), device=bias.device).mul(high - low).add(low).exp().clamp(min=least)
    init.copy_(bias, steps + torch.log(-torch.expm1(-steps)))  # softplus gives the steps back


def start_step_projection(config, projection):
    """A linear layer that makes raw steps of few numbers: its spread keeps theirs, its bias is one step."""
    if getattr(config, "time_step_floor", None) is None:
        return
    spread = projection.in_features**-0.5 * config.time_step_scale
    least = spread if config.time_step_init_scheme == "constant" else -spread
    init.uniform_(projection.weight, least, spread)
    start_steps(config, projection.bias)


def start_ways(config, conv, out):
    """The convolution and the last projection of Mamba as torch starts them, by how many numbers they sum, where a
    config has `rescale_prenorm_residual` (Jamba's starts them as all other matrices)."""
    if getattr(config, "rescale_prenorm_residual", None) is None:
        return
    _by_fan_in(conv.weight)
    if conv.bias is not None:
        init.zeros_(conv.bias)
    _by_fan_in(out.weight)
    start_shrunken(config, out)


def start_shrunken(config, out):
    """A last projection that is smaller the more layers add to one stream, where a config wants that."""
    if getattr(config, "rescale_prenorm_residual", False):
        _by_fan_in(out.weight, config.num_hidden_layers**-0.5)


def _by_fan_in(weight, factor=1.0):
    bound = factor * weight[0].numel() ** -0.5
    init.uniform_(weight, -bound, bound)
