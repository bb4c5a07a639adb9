"""Sums over the past in which each channel decays for itself: h_t = a_t * h_(t-1) + b_t (Mamba, RG-LRU).

Shapes: a, b [B, S, ...] of any channels, state [B, ...]: what h was before. documents [1 or B, S]: numbers of packed
sequences, each of which begins without a past. text [B, S]: False where a token is padding, at which h stands still.
All return (h [B, S, ...], the last h [B, ...]), in fp32 or wider.

The loop over tokens is one operation a token on all channels: some 4 us a token, and 0.5 to 3 ns a channel on a CPU
(least where a and b fit its caches). Loops over the places of chunks side by side need the products of decays too, and
are faster only below about 2,000 channels; doubling takes 2 to 40 ns a channel.
"""

import torch
from torch.autograd.function import once_differentiable

from nemo_automodel.components.models.common.chunk_by_chunk import by_hand


def stepwise(a, b, state=None, documents=None, text=None):
    """The specification: token by token."""
    a, b, h = _start(a, b, state, documents, text)
    found = []
    for decay, added in zip(a.unbind(1), b.unbind(1), strict=True):
        h = decay * h + added
        found.append(h)
    return torch.stack(found, dim=1), h


def linear_scan(a, b, state=None, documents=None, text=None):
    """The same as one node, which keeps a and h alone for its backward pass."""
    a, b, state = _start(a, b, state, documents, text)
    if a.shape[1] == 1:
        h = torch.addcmul(b, a, state[:, None])
        return h, h[:, 0]
    return _Scan.apply(a, b, state) if by_hand((a, b, state)) else stepwise(a, b, state)


FORMS = {"torch": linear_scan, "stepwise": stepwise}


def form(name):
    """The function of a backend."""
    return FORMS[name]


def _start(a, b, state, documents, text):
    """All in one dtype, with decays of 0 where a document begins and of 1 at padding, which adds nothing."""
    wide = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(wide), b.to(wide)
    if documents is not None:
        same = documents[:, 1:] == documents[:, :-1]
        a = torch.cat((a[:, :1], a[:, 1:] * _as(same, a)), dim=1)
    if text is not None:
        padding = ~_as(text.bool(), a)
        a, b = a.masked_fill(padding, 1), b.masked_fill(padding, 0)
    return a, b, b.new_zeros(b[:, 0].shape) if state is None else state.to(wide)


def _as(flags, a):
    """[1 or B, S] with a dimension of one for each of the channels."""
    return flags.reshape(*flags.shape, *[1] * (a.dim() - 2))


def _filled(found, a, b, h):
    """found_t = a_t * found_(t-1) + b_t, after h, for tensors of one a token in any order."""
    for out, decay, added in zip(found, a, b, strict=True):
        h = torch.addcmul(added, decay, h, out=out)


class _Scan(torch.autograd.Function):
    """The gradient of h_t is a sum of the same kind, from the last token to the first."""

    @staticmethod
    def forward(ctx, a, b, state):
        h = torch.empty_like(b, memory_format=torch.contiguous_format)
        _filled(h.unbind(1), a.unbind(1), b.unbind(1), state)
        ctx.save_for_backward(a, h, state)
        return h, h[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_h, grad_last):
        a, h, state = ctx.saved_tensors
        found = torch.empty_like(h)
        last = torch.add(grad_h[:, -1], grad_last, out=found[:, -1])
        pieces = (found[:, :-1], a[:, 1:], grad_h[:, :-1])
        _filled(*(reversed(one.unbind(1)) for one in pieces), last)
        grad_a = torch.empty_like(h)
        torch.mul(found[:, 0], state, out=grad_a[:, 0])
        torch.mul(found[:, 1:], h[:, :-1], out=grad_a[:, 1:])
        return grad_a, found, a[:, 0] * found[:, 0]
