"""Sums over the past with a decay that is one number a head and a position (Mamba-2, lightning attention).

A state [N, P] a head remembers: S_t = exp(a_t) * S_(t-1) + k_t v_t^T, and y_t = S_t^T q_t, with log decays a <= 0.

Shapes: q, k [B, S, G, N] for G groups of heads, v [B, S, H, P], a [B, S, H]; state [B, H, N, P], in fp32 or wider.
documents [1 or B, S]: numbers of packed sequences, each of which begins without a past.
All return (y [B, S, H, P], state), both in that dtype.
"""

import torch

from nemo_automodel.components.models.common.chunk_by_chunk import chunk_by_chunk

CHUNK = 64  # positions that are computed at once: small enough for what belongs to them to stay in a CPU's cache


def stepwise(q, k, v, a, state=None, documents=None):
    """The specification: token by token."""
    wide, state = _start(q, k, v, state)
    per_group, found = v.shape[2] // q.shape[2], []
    for place in range(v.shape[1]):
        if documents is not None and place:
            state = state * (documents[:, place] == documents[:, place - 1])[:, None, None, None]
        keys, queries = (one[:, place].to(wide).repeat_interleave(per_group, 1) for one in (k, q))
        added = keys[..., None] * v[:, place].to(wide)[..., None, :]
        state = state * a[:, place].to(wide).exp()[..., None, None] + added
        found.append(torch.einsum("bhn,bhnp->bhp", queries, state))
    return torch.stack(found, dim=1), state


def step(q, k, v, a, state):
    """One token after a state, without a copy of keys for each head."""
    wide, state = _start(q, k, v, state)
    (rows, _, groups, width), value = q.shape, v.shape[-1]
    queries, keys = q.to(wide).reshape(rows, groups, 1, 1, width), k.to(wide).reshape(rows, groups, 1, width, 1)
    values, decay = v.to(wide).reshape(rows, groups, -1, 1, value), a.to(wide).exp().reshape(rows, groups, -1, 1, 1)
    after = torch.addcmul(state.view(rows, groups, -1, width, value) * decay, keys, values)
    return (queries @ after).reshape(v.shape), after.view(state.shape)


def chunked(q, k, v, a, state=None, documents=None, chunk=CHUNK):
    """The same by matrix products, chunk after chunk: cost is linear in length, and little is kept for the backward
    pass, which computes each chunk again."""
    _, state = _start(q, k, v, state)
    if documents is not None:
        documents = documents.expand(len(v), -1)
    return chunk_by_chunk(_one_chunk, (q, k, v, a), state, documents, chunk, _gradients)


FORMS = {"torch": chunked, "stepwise": stepwise}


def form(name):
    """The function of a backend."""
    return FORMS[name]


def _start(q, k, v, state):
    """The dtype that states are kept in, and the first of them."""
    wide = torch.promote_types(v.dtype, torch.float32)
    if state is None:
        state = v.new_zeros(len(v), v.shape[2], q.shape[-1], v.shape[-1], dtype=wide)
    return wide, state.to(wide)


def _one_chunk(q, k, v, a, state, numbers):
    """A chunk of L tokens after a state -> y, and the state after it."""
    return products(q, k, v, state, decays(_total(a), numbers, state.dtype))


def products(q, k, v, state, decays):
    """The same from what `decays` gives."""
    (q, k), (v,), state, (between, since, until, whole) = _by_group(q, k, (v,), state, decays)
    y = ((q @ k.mT) * between) @ v + (q @ state) * since
    after = state * whole + k.mT @ (v * until)
    return y.flatten(1, 2).transpose(1, 2), after.flatten(1, 2)


def _gradients(q, k, v, a, state, numbers, grad_y, grad_after):
    """Those of all inputs of `_one_chunk` but numbers."""
    given = decays(_total(a), numbers, state.dtype)
    return gradients(q, k, v, state, given, grad_y, grad_after, of_decays=True)


def gradients(q, k, v, state, decays, grad_y, grad_after, of_decays=False):
    """Those of q, k, v, log decays (None unless `of_decays`) and the state. Decays' are taken by their logarithms.

    A token's own share of y does not decay: it has no part in them, for a difference would leave its rounding errors.
    """
    (q, k), (v, grad_y), state, decays = _by_group(q, k, (v, grad_y), state, decays)
    (between, since, until, whole), grad_after = decays, grad_after.unflatten(1, state.shape[1:3])
    decayed, pairs = grad_y * since, q @ k.mT
    weights, grad_weights = pairs * between, grad_y @ v.mT
    to_q, to_v = decayed @ state.mT, (k @ grad_after) * until  # [B, G, H / G, L, N], ... P]
    grad_pairs = (grad_weights * between).sum(2, keepdim=True)
    grad_q = to_q.sum(2, keepdim=True) + grad_pairs @ k
    grad_k = ((v * until) @ grad_after.mT).sum(2, keepdim=True) + grad_pairs.mT @ q
    grad_v = weights.mT @ grad_y + to_v
    grad_state = q.mT @ decayed + grad_after * whole
    found = [one.flatten(1, 2).transpose(1, 2) for one in (grad_q, grad_k, grad_v)]
    if not of_decays:
        return *found, None, grad_state.flatten(1, 2)

    inside, later = (grad_weights * weights).tril(-1), (to_v * v).sum(-1)
    grad_total = inside.sum(-1) - inside.sum(-2) + (to_q * q).sum(-1) - later
    grad_total[..., -1] += later.sum(-1) + (grad_after * state * whole).sum((-2, -1))
    grad_a = grad_total.double().flip(-1).cumsum(-1).flip(-1)
    return *found, grad_a.flatten(1, 2).transpose(1, 2), grad_state.flatten(1, 2)


def _by_group(q, k, of_heads, state, decays):
    """((q, k) [B, G, 1, L, N], (v, ...) [B, G, H / G, L, P], state [B, G, H / G, N, P], decays [B, G, H / G, ...])."""
    groups, wide = q.shape[2], state.dtype
    q, k = (one.transpose(1, 2).to(wide)[:, :, None] for one in (q, k))
    of_heads = [one.transpose(1, 2).to(wide).unflatten(1, (groups, -1)) for one in of_heads]
    decays = [one.unflatten(1, (groups, -1)) for one in decays]
    return (q, k), of_heads, state.unflatten(1, (groups, -1)), decays


def _total(a):
    """Sums since the chunk began, [B, H, L], in fp64: a strong decay early in a chunk must not round those after it."""
    return a.transpose(1, 2).double().cumsum(-1)


def decays(total, numbers, wide):
    """Exponentials of sums that are never positive: between each pair of tokens [B, H, L, L], since the chunk began and
    until it ends [B, H, L, 1], and over all of it [B, H, 1, 1]. total: fp64 [B, H, L]; numbers: as `chunk_by_chunk`'s.
    """
    length = total.shape[-1]
    later = torch.ones(length, length, dtype=torch.bool, device=total.device).triu(1)
    sums = (total[..., :, None] - total[..., None, :]).to(wide).masked_fill(later, float("-inf"))
    since, until, whole = total.exp(), (total[..., -1:] - total).exp(), total[..., -1:].exp()
    found = sums.exp(), *(one.to(wide)[..., None] for one in (since, until, whole))
    return within_documents(found, numbers)


def within_documents(decays, numbers):
    """0 across documents."""
    if numbers is None:
        return decays
    between, since, until, whole = decays
    before, own = numbers[:, None, :1, None], numbers[:, None, 1:, None]
    last = own[:, :, -1:]
    return between * (own == own.mT), since * (own == before), until * (own == last), whole * (last == before)
