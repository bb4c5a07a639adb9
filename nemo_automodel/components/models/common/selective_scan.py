"""The selective scan of Mamba (arXiv 2312.00752): each channel has a state, whose entries decay each for itself.

h_t = exp(dt_t * A) * h_(t-1) + dt_t * x_t * B_t, and y_t is the sum over the entries of C_t * h_t.

Shapes: x, dt [B, S, I], dt >= 0; A [N, I] <= 0 for N entries; B, C [B, S, N]; state [B, N, I], in fp32 or wider.
documents [1 or B, S]: numbers of packed sequences, each of which begins without a past.
All return (y [B, S, I], state), both in that dtype.
"""

import torch

from nemo_automodel.components.models.common.chunk_by_chunk import chunk_by_chunk
from nemo_automodel.components.models.common.linear_scan import linear_scan
from nemo_automodel.components.models.common.linear_scan import stepwise as scan_stepwise

AT_ONCE = 2**18  # entries of states that are computed at once: few enough to stay in a CPU's cache


def stepwise(x, dt, A, B, C, state=None, documents=None):
    """The specification: all states, token by token."""
    wide, state = _start(x, A, state)
    decay, added = (dt.to(wide)[:, :, None] * A).exp(), (dt * x.to(wide))[:, :, None] * B.to(wide)[..., None]
    h, state = scan_stepwise(decay, added, state, documents)
    return torch.einsum("bsni,bsn->bsi", h, C.to(wide)), state


def step(x, dt, A, B, C, state):
    """One token after a state."""
    wide, state = _start(x, A, state)
    added = (dt * x.to(wide)) * B.to(wide).mT  # [B, 1, I] * [B, N, 1]
    after = torch.addcmul(added, (dt.to(wide) * A).exp_(), state)
    return C.to(wide) @ after, after


def chunked(x, dt, A, B, C, state=None, documents=None, chunk=None):
    """The same chunk after chunk: cost is linear in length, and states of a chunk alone are held at once, in the
    backward pass too, which computes each chunk again."""
    wide, state = _start(x, A, state)
    if chunk is None:
        chunk = min(max(AT_ONCE // max(state.numel(), 1), 4), 64)
    if documents is not None:
        documents = documents.expand(len(x), -1)
    return chunk_by_chunk(_one_chunk, (x, dt, B, C), state, documents, chunk, shared=(A.to(wide),))


FORMS = {"torch": chunked, "stepwise": stepwise}


def form(name):
    """The function of a backend."""
    return FORMS[name]


def _start(x, A, state):
    """The dtype that states are kept in, and the first of them."""
    wide = torch.promote_types(torch.promote_types(x.dtype, A.dtype), torch.float32)
    return wide, x.new_zeros(len(x), *A.shape, dtype=wide) if state is None else state.to(wide)


def _one_chunk(x, dt, B, C, A, state, numbers):
    """A chunk of L tokens after a state -> y, and the state after it."""
    x, dt, B, C = (one.to(state.dtype) for one in (x, dt, B, C))
    decay = (dt[:, :, None] * A).exp()  # [B, L, N, I]
    if numbers is not None:
        decay = decay * (numbers[:, 1:] == numbers[:, :-1])[..., None, None]
    h, state = linear_scan(decay, (dt * x)[:, :, None] * B[..., None], state)
    return (C[..., None] * h).sum(2), state
