"""Sums over the past with a decay that is one number a head and a position (Mamba-2, lightning attention).

A state [N, P] a head remembers: S_t = exp(a_t) * S_(t-1) + k_t v_t^T, and y_t = S_t^T q_t, with log decays a <= 0.

Shapes: q, k [B, S, G, N] for G groups of heads, v [B, S, H, P], a [B, S, H]; state [B, H, N, P], in fp32 or wider.
documents [1 or B, S]: numbers of packed sequences, each of which begins without a past.
All return (y [B, S, H, P], state), both in that dtype.
"""

import torch

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
    groups = q.shape[2]
    queries, keys = (one[:, 0, :, None, :, None].to(wide) for one in (q, k))  # [B, G, 1, N, 1]
    values, decay = v[:, 0].to(wide).unflatten(1, (groups, -1)), a[:, 0].to(wide).exp().unflatten(1, (groups, -1))
    after = state.unflatten(1, (groups, -1)) * decay[..., None, None] + keys * values[..., None, :]
    y = (queries.mT @ after).flatten(1, 2).mT
    return y.squeeze(-1)[:, None], after.flatten(1, 2)


def chunked(q, k, v, a, state=None, documents=None, chunk=CHUNK):
    """The same by matrix products, chunk after chunk: cost is linear in length, and little is kept for the backward
    pass, which computes each chunk again."""
    _, state = _start(q, k, v, state)
    if documents is not None:
        documents = documents.expand(len(v), -1)
    inputs = (q, k, v, a, state, documents, chunk)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling() and type(v) is torch.Tensor:
        return _Chunks.apply(*inputs)
    y, states = _all_chunks(*inputs)
    return y, states[-1]


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


def _pieces(length, chunk):
    return [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]


def _numbers(documents, piece):
    """Numbers of documents of a chunk, and before them that of the token that comes first: [B, 1 + L], or None."""
    if documents is None:
        return None
    return torch.cat((documents[:, max(piece.start - 1, 0)][:, None], documents[:, piece]), dim=1)


def _all_chunks(q, k, v, a, state, documents, chunk):
    """y, and the states before each chunk and after the last."""
    states, found = [state], []
    for piece in _pieces(v.shape[1], chunk):
        y, state = _one_chunk(*(one[:, piece] for one in (q, k, v, a)), state, _numbers(documents, piece))
        found.append(y)
        states.append(state)
    return torch.cat(found, dim=1), states


def _one_chunk(q, k, v, a, state, numbers):
    """A chunk of L tokens after a state -> y, and the state after it.

    Decays are exponentials of sums that are never positive. Sums are taken in fp64, for a strong decay early in a
    chunk must not round those after it.
    """
    groups, wide = q.shape[2], state.dtype
    q, k = (one.transpose(1, 2).to(wide) for one in (q, k))  # [B, G, L, N]
    v = v.transpose(1, 2).to(wide).unflatten(1, (groups, -1))  # [B, G, H / G, L, P]
    state = state.unflatten(1, (groups, -1))
    total = a.transpose(1, 2).double().cumsum(-1)  # [B, H, L]
    between, since, until, whole = (
        one.to(wide).unflatten(1, (groups, -1)) for one in _decays(total, numbers, wide)
    )  # [B, G, H / G, L, L], ... L], ... L], ... 1]
    pairs = (q @ k.mT)[:, :, None] * between
    y = pairs @ v + (q[:, :, None] @ state) * since[..., None]
    after = state * whole[..., None] + k.mT[:, :, None] @ (v * until[..., None])
    return y.flatten(1, 2).transpose(1, 2), after.flatten(1, 2)


def _decays(total, numbers, wide):
    """Between each pair of tokens, since the chunk began, until it ends, and over all of it; 0 across documents."""
    length = total.shape[-1]
    later = torch.ones(length, length, dtype=torch.bool, device=total.device).triu(1)
    sums = (total[..., :, None] - total[..., None, :]).to(wide).masked_fill(later, float("-inf"))
    between, since = sums.exp(), total.exp()
    until, whole = (total[..., -1:] - total).exp(), total[..., -1:].exp()
    if numbers is None:
        return between, since, until, whole
    before, own = numbers[:, None, :1], numbers[:, None, 1:]
    last = own[..., -1:]
    same = own[..., :, None] == own[..., None, :]
    return between * same, since * (own == before), until * (own == last), whole * (last == before)


class _Chunks(torch.autograd.Function):
    """Keeps its inputs and the states between chunks."""

    @staticmethod
    def forward(ctx, q, k, v, a, state, documents, chunk):
        y, states = _all_chunks(q, k, v, a, state, documents, chunk)
        ctx.save_for_backward(q, k, v, a, documents, *states[:-1])
        ctx.chunk = chunk
        return y, states[-1]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_y, grad_state):
        *inputs, documents = (saved := ctx.saved_tensors)[:5]  # read once: checkpointing counts
        states = saved[5:]
        found = [torch.empty_like(one) for one in inputs]
        pieces = _pieces(inputs[2].shape[1], ctx.chunk)
        for piece, state in zip(reversed(pieces), reversed(states), strict=True):
            with torch.enable_grad():
                leaves = [one[:, piece].detach().requires_grad_() for one in inputs] + [state.detach().requires_grad_()]
                made = _one_chunk(*leaves, _numbers(documents, piece))
            *grads, grad_state = torch.autograd.grad(made, leaves, (grad_y[:, piece], grad_state))
            for whole, grad in zip(found, grads, strict=True):
                whole[:, piece] = grad
        return *found, grad_state, None, None
