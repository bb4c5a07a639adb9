"""The gated delta rule (Yang et al. 2024, arXiv 2412.06464; decay by channel: Kimi Team 2025, arXiv 2510.26692).

A head's state [D, E] maps keys to values. Each token lets it decay, and corrects what it answers to the token's key.
B batch, S tokens, K key heads, H value heads (R to each key head), D width of a key, E of a value, C tokens of a chunk.
"""

from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common.chunk_by_chunk import chunk_by_chunk

CHUNK, BLOCK = 64, 8
UNIT_EPS = 1e-6


def delta_rule_stepwise(q, k, v, decay, beta, *, state=None, documents=None):
    """The specification, token by token: S = exp(decay) S; S = S + k (beta (v - S^T k))^T; y = S^T q.

    q, k [B, S, K, D], of which unit vectors are made; v [B, S, H, E]; decay, a logarithm, [B, S, H] or [B, S, H, D];
    beta [B, S, H]; state [B, H, D, E], that of the tokens before; documents [1 or B, S]: each has a state of its own.
    Returns y [B, S, H, E] in v's dtype, and the last state in fp32.
    """
    wide, heads, found = _wide(v), v.shape[2], []
    q, k = (unit(t.to(wide)).repeat_interleave(heads // t.shape[2], dim=2) for t in (q, k))
    q = q * q.shape[-1] ** -0.5
    decay = decay.to(wide) if decay.dim() == 4 else decay.to(wide)[..., None]
    state = _first_state(state, k, v)
    for place in range(v.shape[1]):
        if documents is not None and place:
            state = state * (documents[:, place] == documents[:, place - 1])[:, None, None, None]
        state = state * decay[:, place, ..., None].exp()
        answer = torch.einsum("bhde,bhd->bhe", state, k[:, place])
        change = beta[:, place, :, None].to(wide) * (v[:, place].to(wide) - answer)
        state = state + k[:, place, ..., None] * change[..., None, :]
        found.append(torch.einsum("bhde,bhd->bhe", state, q[:, place]))
    return torch.stack(found, dim=1).to(v.dtype), state


def delta_rule(q, k, v, decay, beta, *, state=None, documents=None):
    """The same by chunks: in one, a triangular system stands for its tokens; a loop over chunks carries the state.

    Only decays between two tokens in their order are taken out of their logarithms, so that nothing overflows.
    """
    if v.shape[1] == 1:
        return delta_rule_stepwise(q, k, v, decay, beta, state=state, documents=documents)
    return chunk_by_chunk(_chunk, (q, k, v, decay, beta), _first_state(state, k, v), documents, CHUNK)


def delta_rule_fla(q, k, v, decay, beta, *, state=None, documents=None):
    """The same by the kernels of the package flash-linear-attention, on a GPU, for a row of documents at a time."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.kda import chunk_kda

    q, k = (t.repeat_interleave(v.shape[2] // t.shape[2], dim=2) for t in (q, k))
    options = {"initial_state": state, "output_final_state": True, "use_qk_l2norm_in_kernel": True}
    if documents is not None:
        if len(v) > 1:
            raise ValueError("backend.delta_rule: 'fla' takes one packed row at a time: use 'torch'")
        options["cu_seqlens"] = _starts(documents[0])
    y, last = (chunk_kda if decay.dim() == 4 else chunk_gated_delta_rule)(q, k, v, g=decay, beta=beta, **options)
    return y, last[-1:] if documents is not None else last


def _starts(documents):
    """[S] -> where documents begin, and where the last ends."""
    changes = torch.nonzero(documents[1:] != documents[:-1]).flatten() + 1
    return F.pad(F.pad(changes, (1, 0)), (0, 1), value=len(documents))


FORMS = {"torch": delta_rule, "stepwise": delta_rule_stepwise, "fla": delta_rule_fla}


def form(name):
    """The function of a backend. Raises ImportError for that of a package that is not installed."""
    if name == "fla" and find_spec(name) is None:
        raise ImportError(
            "backend.delta_rule: 'fla' needs the package flash-linear-attention: install it, or use 'torch'"
        )
    return FORMS[name]


def unit(x):
    """x [..., D] over its length."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + UNIT_EPS)


def _wide(x):
    return torch.promote_types(x.dtype, torch.float32)


def _first_state(state, k, v):
    shape = len(v), v.shape[2], k.shape[3], v.shape[3]
    return v.new_zeros(shape, dtype=_wide(v)) if state is None else state.to(_wide(v))


class _Borders(NamedTuple):
    """What tokens of a chunk have to do with each other, as documents go: [1 or B, C, C], [1 or B, C] twice, and [1 or
    B] of the state before."""

    same: torch.Tensor
    before: torch.Tensor
    after: torch.Tensor
    kept: torch.Tensor


def _borders(numbers):
    here, past = numbers[:, 1:], numbers[:, 0]
    last = here[:, -1:]
    return _Borders(here[:, :, None] == here[:, None], here == past[:, None], here == last, last[:, 0] == past)


class _Decayed(NamedTuple):
    """Keys and queries, and their products, under the decay between tokens. Leading dimensions are B, K, R."""

    pairs: torch.Tensor  # of k and q with k [..., 2, C, C], 0 above the diagonal
    rows: torch.Tensor  # k and q since before the chunk [..., 2, C, D]
    k: torch.Tensor  # until its end [..., C, D]
    kept: torch.Tensor  # of the state before, until its end [..., 1 or D, 1]


def _chunk(q, k, v, decay, beta, state, numbers):
    """One chunk, as `chunk_by_chunk` wants it: y [B, C, H, E] in v's dtype, and the state after it."""
    dtype, wide, (_, length, keys, width) = v.dtype, _wide(v), k.shape
    rows = unit(torch.stack((k, q), dim=1).to(wide)).transpose(2, 3).unsqueeze(2)  # [B, 2, 1, K, C, D]
    rows = rows.movedim((1, 3), (3, 1)) * rows.new_tensor((1.0, width**-0.5))[:, None, None]  # [B, K, 1, 2, C, D]
    v, decay, beta = (t.to(wide).transpose(1, 2).unflatten(1, (keys, -1)) for t in (v, decay, beta))
    by = _by_channel if decay.dim() == 5 else _by_head
    found = by(rows, decay)
    if numbers is not None:
        found = _within(found, _borders(numbers))
    state = state.unflatten(1, (keys, -1))
    answers = found.rows.flatten(-3, -2) @ state  # [B, K, R, 2 * C, E]
    of_k, of_q = answers.split(length, dim=-2)
    system = (beta[..., None] * found.pairs[..., 0, :, :]).tril(-1)
    wanted = beta[..., None] * (v - of_k)
    change = torch.linalg.solve_triangular(system, wanted, upper=False, unitriangular=True)
    y = of_q + found.pairs[..., 1, :, :] @ change
    state = found.kept * state + found.k.mT @ change
    return y.flatten(1, 2).transpose(1, 2).to(dtype), state.flatten(1, 2)


def _within(found, borders):
    """The same, where only tokens of one document have to do with each other."""
    same, before, after, kept = (t[:, None, None] for t in borders)
    return _Decayed(
        found.pairs * same[..., None, :, :],
        found.rows * before[..., None, :, None],
        found.k * after[..., None],
        found.kept * kept[..., None, None],
    )


def _by_head(rows, decay):
    """rows [B, K, 1, 2, C, D], decay [B, K, R, C]: one factor for all of a product."""
    since, wide, k = decay.cumsum(-1, dtype=torch.float64), decay.dtype, rows[..., 0, :, :]
    between = _between(since[..., None], wide).squeeze(-1)
    return _Decayed(
        (rows.flatten(-3, -2) @ k.mT).unflatten(-2, (2, -1)) * between[..., None, :, :],
        rows * since.to(wide).exp()[..., None, :, None],
        k * (since[..., -1:] - since).to(wide).exp()[..., None],
        since[..., -1, None, None].to(wide).exp(),
    )


def _between(since, dtype):
    """since [..., C, D] -> the decay from token j to i, [..., C, C, D]; 0 where j is later.

    A token's own is 1 without a gradient: as a difference it would give one of rounding errors, beside which those of
    strong decays are small.
    """
    length = since.shape[-2]
    later = torch.ones(length, length, dtype=torch.bool, device=since.device).triu()[..., None]
    apart = (since.unsqueeze(-2) - since.unsqueeze(-3)).to(dtype).masked_fill(later, -torch.inf).exp()
    return apart + torch.eye(length, dtype=dtype, device=since.device)[..., None]


def _by_channel(rows, decay):
    """rows [B, K, 1, 2, C, D], decay [B, K, 1, C, D]: a factor for each term of a product."""
    since, wide, k = decay.cumsum(-2, dtype=torch.float64), decay.dtype, rows[..., 0, :, :]
    return _Decayed(
        _products(rows, since),
        rows * since.to(wide).exp()[..., None, :, :],
        k * (since[..., -1:, :] - since).to(wide).exp(),
        since[..., -1, :, None].to(wide).exp(),
    )


def _products(rows, since):
    """[..., 2, C, C]: the sum over channels of row_i k_j exp(since_i - since_j), for j <= i.

    Blocks on the diagonal by definition; the others by halves: exp(since_i - m) and exp(m - since_j), where m is what
    the first half ends with, are at most one each, and make products of matrices.
    """
    length = rows.shape[-2]
    block = min(BLOCK, length)
    size = block
    while size < length:
        size *= 2
    rows = F.pad(rows, (0, 0, 0, size - length))
    since = torch.cat((since, since[..., -1:, :].expand(*since.shape[:-2], size - length, -1)), dim=-2)
    found = rows.new_zeros(*rows.shape[:-2], size, size)
    _on_diagonal(found, block).copy_(_by_definition(rows.unflatten(-2, (-1, block)), since.unflatten(-2, (-1, block))))
    while block < size:
        earlier, later = rows[..., 0, :, :].unflatten(-2, (-1, 2, block)), rows.unflatten(-2, (-1, 2, block))
        passed = since.unflatten(-2, (-1, 2, block))
        middle = passed[..., 0, -1:, :]
        earlier = earlier[..., 0, :, :] * (middle - passed[..., 0, :, :]).to(rows.dtype).exp()  # [..., n, block, D]
        later = later[..., 1, :, :] * (passed[..., 1, :, :] - middle).to(rows.dtype).exp().unsqueeze(
            -4
        )  # [..., 2, n, block, D]
        _on_diagonal(found, 2 * block)[..., block:, :block].copy_(later @ earlier.mT.unsqueeze(-4))
        block *= 2
    return found[..., :length, :length]


def _on_diagonal(square, block):
    """[..., n * block, n * block] -> its n blocks on the diagonal, [..., n, block, block], a view."""
    blocks = square.unflatten(-1, (-1, block)).unflatten(-3, (-1, block))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _by_definition(rows, since):
    """rows [..., 2, n, c, D], since [..., n, c, D] -> [..., 2, n, c, c]"""
    weighted = _between(since, rows.dtype) * rows[..., 0, :, :, :].unsqueeze(-3)  # [..., n, c, c, D]
    return (weighted.unsqueeze(-5) @ rows.unsqueeze(-1)).squeeze(-1)
