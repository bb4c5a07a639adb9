"""The recurrence of Griffin (arXiv 2402.19427): each channel decays by a gate of its own, and another lets its x in.

h_t = a_t * h_(t-1) + sqrt(1 - a_t ** 2) * i_t * x_t, with log a_t = -8 * r_t * softplus(p), where i_t and r_t are the
sigmoids of x_t through one matrix a block of channels. A text's first token is not scaled, and finds no state.

Shapes: x [B, S, W]; gates: matrices [N, W / N, W / N] and biases [N, W / N] of i, then of r; parameter p [W]; state
[B, W], in fp32 or wider. places [1 or B, S]: what each token is, of the numbers below; None: all go on.
All return (h [B, S, W], state), both in that dtype.
"""

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from nemo_automodel.components.models.common import linear_scan
from nemo_automodel.components.models.common.chunk_by_chunk import chunk_by_chunk

GOES_ON, BEGINS, RESTARTS, IS_PADDING = range(4)  # restarts: without a past, and scaled all the same
STEEPEST = 1000.0  # the largest derivative of the square root on the way back
SHARPNESS = 8.0  # of the decay: c in the paper
AT_ONCE = 2**17  # entries of x that are computed at once: few enough to stay near a CPU


def stepwise(x, gates, parameter, state=None, places=None):
    """The specification: all gates, then token by token."""
    places = None if places is None else torch.cat((places[:, :1], places), dim=1)
    return _one_chunk(x, *gates, parameter, _start(x, state), places, scan=linear_scan.stepwise)


def chunked(x, gates, parameter, state=None, places=None, chunk=None):
    """The same chunk after chunk: x and a state a chunk are kept for the backward pass, which computes gates and decays
    again."""
    if chunk is None:
        chunk = min(max(AT_ONCE // x[:, 0].numel(), 16), 512)
    if places is not None:
        places = places.expand(len(x), -1)
    return chunk_by_chunk(_one_chunk, (x,), _start(x, state), places, chunk, shared=(*gates, parameter))


FORMS = {"torch": chunked, "stepwise": stepwise}


def form(name):
    """The function of a backend."""
    return FORMS[name]


def _start(x, state):
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.new_zeros(len(x), x.shape[-1], dtype=wide) if state is None else state.to(wide)


def _one_chunk(x, *given, scan=linear_scan.linear_scan):
    """A chunk of L tokens after a state -> h, and the state after it. places: from that of the token before on."""
    *gates, parameter, state, places = given
    let_in, rate = (through_blocks(x, *gate).to(state.dtype).sigmoid() for gate in (gates[:2], gates[2:]))
    decay = -SHARPNESS * rate * softplus(parameter.to(state.dtype))
    added = x.to(state.dtype) * let_in
    scale = SteepRoot.apply(-torch.expm1(2 * decay))
    if places is None:
        return scan(decay.exp(), added * scale, state)
    place = places[:, 1:, None]
    scale = scale.masked_fill(place == BEGINS, 1)
    decay = decay.exp().masked_fill((place == BEGINS) | (place == RESTARTS), 0)
    return scan(decay, added * scale, state, text=places[:, 1:] != IS_PADDING)


def through_blocks(x, weight, bias):
    """x [B, S, W] -> a gate before its sigmoid [B, S, W]; each block of channels reads itself alone."""
    blocks = x.reshape(-1, *bias.shape).transpose(0, 1)  # [N, B * S, W / N]
    found = torch.baddbmm(bias[:, None].to(x.dtype), blocks, weight.to(x.dtype))
    return found.transpose(0, 1).reshape(x.shape)


class SteepRoot(torch.autograd.Function):
    """The square root of x, any shape and float dtype, with a derivative of at most STEEPEST."""

    @staticmethod
    def forward(ctx, x):
        root = x.sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (root,) = ctx.saved_tensors
        return grad / (2 * root).clamp(min=1 / STEEPEST)
