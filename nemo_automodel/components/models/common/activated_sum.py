"""The sum of lightning attention with the activation before it: a token's decay is the same number wherever it stands.

q, k, v [B, S, N, D] before the activation -> y [B, S, N, D] and the last state [B, N, D, D], in fp32 or wider.
"""

import torch

from nemo_automodel.components.models.common import chunked_decay
from nemo_automodel.components.models.common.chunk_by_chunk import called, chunk_by_chunk

CHUNK = 128  # positions that are computed at once: as fast as 64, and half the states are kept


class ActivatedSum:
    """activation: a module; rates [N]: the logarithm of what a token leaves of states, in fp32 or wider; text [B, S]:
    False where a token is padding, which is zero behind the activation and lets no state decay; None: no padding."""

    def __init__(self, activation, rates, text):
        self.activation, self.rates, self.text = activation, rates, text
        self.parameters = tuple(activation.parameters())
        self.known = {}

    def around(self, form):
        """The same of a form of `chunked_decay`, all activated first."""

        def found(q, k, v, *past):
            decay = self.rates.expand(*q.shape[:2], -1)
            decay = decay if self.text is None else decay * self.text[..., None]
            return form(*self._activated((q, k, v), self.text, self.parameters), decay, *past)

        return found

    def chunked(self, q, k, v, state=None, documents=None):
        """Chunk after chunk: what is kept for the backward pass is not yet activated."""
        if state is None:
            state = v.new_zeros(len(v), *v.shape[2:], v.shape[-1], dtype=self.rates.dtype)
        if documents is not None:
            documents = documents.expand(len(v), -1)
        inputs = q, k, v, *(() if self.text is None else (self.text,))
        return chunk_by_chunk(self._one, inputs, state, documents, CHUNK, self._gradients, shared=self.parameters)

    def _one(self, q, k, v, *given):
        text, parameters, state, numbers = self._read(given)
        acted = self._activated((q, k, v), text, parameters)
        return chunked_decay.products(*acted, state, self._decays(q, text, numbers))

    def _gradients(self, q, k, v, *given):
        *given, grad_y, grad_after = given
        text, parameters, state, numbers = self._read(given)
        with torch.enable_grad():
            leaves = [one.detach().requires_grad_() for one in (q, k, v, *parameters)]
            acted = self._activated(leaves[:3], text, leaves[3:])
        values = [one.detach() for one in acted]
        *grads, _, grad_state = chunked_decay.gradients(
            *values, state, self._decays(q, text, numbers), grad_y, grad_after
        )
        grads = [grad.to(one.dtype) for grad, one in zip(grads, acted, strict=True)]
        found = torch.autograd.grad(acted, leaves, grads)
        return *found[:3], *([] if text is None else [None]), *found[3:], grad_state

    def _read(self, given):
        """text, parameters, state and numbers of what follows q, k and v."""
        text = None if self.text is None else given[0]
        *parameters, state, numbers = given[self.text is not None :]
        return text, parameters, state, numbers

    def _activated(self, tensors, text, parameters):
        """Of q, k and v each; padding is zero, for an activation of zero need not be."""
        found = [called(self.activation, parameters, one) for one in tensors]
        return found if text is None else [one * text[..., None, None] for one in found]

    def _decays(self, q, text, numbers):
        """Those of a chunk; without padding, of a length they are computed once."""
        length, rates = q.shape[1], self.rates.double()[:, None]
        if text is not None:
            return chunked_decay.decays(rates * text.cumsum(-1)[:, None], numbers, self.rates.dtype)
        if length not in self.known:
            places = torch.arange(1, length + 1, device=q.device)
            self.known[length] = chunked_decay.decays((rates * places)[None], None, self.rates.dtype)
        return chunked_decay.within_documents(self.known[length], numbers)
