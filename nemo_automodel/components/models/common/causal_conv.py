"""Causal depthwise convolutions over a few tokens, and what mixers that have one do alike."""

import torch
from torch import nn

from nemo_automodel.components.models.common.backend import require
from nemo_automodel.components.models.common.chunk_by_chunk import by_hand
from nemo_automodel.components.models.common.convolution import Convolution, by_taps
from nemo_automodel.components.models.common.releases import update_conv_state
from nemo_automodel.components.models.common.stateful import StatefulMixer, refuse_pages


def convolve_stepwise(x, weight, bias=None, *, before=None, documents=None):
    """The specification: token by token, y_t = bias + the sum over k of weight_k * x_(t - K + 1 + k).

    x [B, S, H], weight [H, K], bias [H] -> y [B, S, H]. before [B, K - 1, H]: what came before x, else nothing did.
    documents [1 or B, S]: tokens of another document count as nothing.
    """
    taps = weight.shape[-1]
    state = x.new_zeros(x.shape[0], taps - 1, x.shape[-1]) if before is None else before
    found = []
    for place in range(x.shape[1]):
        if documents is not None and place:
            state = state * (documents[:, place] == documents[:, place - 1])[:, None, None]
        state = torch.cat((state, x[:, place : place + 1]), dim=1)
        found.append(torch.einsum("bkh,hk->bh", state, weight) + (0 if bias is None else bias))
        state = state[:, 1:]
    return torch.stack(found, dim=1)


def convolve(x, weight, bias=None, *, before=None, documents=None):
    """The same for all tokens at once, one product a tap, summed in fp32 and rounded once."""
    if before is None:
        before = x.new_zeros(x.shape[0], weight.shape[-1] - 1, x.shape[-1])
    given = x, weight, bias, before, documents
    return Convolution.apply(*given) if x.shape[1] > 1 and by_hand((x, weight)) else by_taps(*given)


def convolve_causal_conv1d(x, weight, bias=None, *, before=None, documents=None):
    """The same by the kernel of the package causal-conv1d. Raises ValueError with the reason where it cannot."""
    from causal_conv1d import causal_conv1d_fn

    if reason := why_not_causal_conv1d(x, weight, documents):
        raise ValueError(f"backend.conv: 'causal_conv1d': {reason}; use 'torch' or 'auto'")
    whole = x if before is None else torch.cat((before, x), dim=1)
    numbers = None if documents is None else documents.expand(x.shape[0], -1).to(torch.int32)
    return causal_conv1d_fn(whole.mT, weight, bias, seq_idx=numbers).mT[:, -x.shape[1] :]


def why_not_causal_conv1d(x, weight, documents=None):
    """Why the package's kernel cannot take these, or None."""
    if not x.is_cuda:
        return f"its kernel runs on a card, and x is on {x.device.type}"
    if not 2 <= weight.shape[-1] <= 4:
        return f"its kernel is for 2 to 4 taps, not {weight.shape[-1]}"
    if documents is not None and x.shape[-1] % 8:
        return f"its kernel takes documents of channels in eights, not {x.shape[-1]}"
    return None


def convolve_by_device(x, weight, bias=None, *, before=None, documents=None):
    """The same by the package's kernel where it can, else by `convolve`."""
    fits = not torch.compiler.is_compiling() and why_not_causal_conv1d(x, weight, documents) is None
    return (convolve_causal_conv1d if fits else convolve)(x, weight, bias, before=before, documents=documents)


FORMS = {
    "torch": convolve,
    "stepwise": convolve_stepwise,
    "causal_conv1d": convolve_causal_conv1d,
    "auto": convolve_by_device,
}


def form(name):
    """The function of a backend. Raises ImportError or RuntimeError for one that cannot run here."""
    require("conv", name)
    return FORMS[name]


class ConvolvedMixer(StatefulMixer):
    """A mixer with a causal convolution, whose last inputs a cache remembers."""

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        self.convolution = form(backend.conv)

    def convolved(self, conv, x, mask, cache, **kwargs):
        """x [B, S, H] -> y [B, S, H], after what the cache holds of the past. conv: an `nn.Conv1d`, for its weights."""
        refuse_pages(kwargs)
        before = None if cache is None else self._before(conv, x, cache)
        documents = None if mask is None else mask.documents
        return self.convolution(x, conv.weight.squeeze(1), conv.bias, before=before, documents=documents)

    def _before(self, conv, x, cache):
        """The K - 1 inputs before x, [B, K - 1, H]; the cache remembers the last of both."""
        taps = conv.weight.shape[-1]
        whole = update_conv_state(cache, x.mT, self.layer_idx, taps).mT
        missing = x.shape[1] + taps - 1 - whole.shape[1]
        if missing > 0:
            whole = nn.functional.pad(whole, (0, 0, missing, 0))
        return whole[:, whole.shape[1] - x.shape[1] - taps + 1 : whole.shape[1] - x.shape[1]]


def without_padding(x, mask):
    """x [B, S, H], zero where a token is padding."""
    return x if mask is None or mask.text is None else x * mask.text[..., None]
