"""What tokens of a chunk have to do with each other under the gated delta rule: products of keys and queries, decayed.

B batch, K key heads, R value heads to each, C tokens of a chunk, D width of a key.
"""

from typing import NamedTuple

import torch
from torch.nn import functional as F

BLOCK = 8
UNIT_EPS = 1e-6


def unit(x):
    """x [..., D] over its length."""
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + UNIT_EPS)


def wide_of(x):
    """The dtype that sums over x are taken in."""
    return torch.promote_types(x.dtype, torch.float32)


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


class Decayed(NamedTuple):
    """Keys and queries, and their products, under the decay between tokens. Leading dimensions are B, K, R."""

    pairs: torch.Tensor  # of k and q with k [..., 2, C, C], 0 above the diagonal
    rows: torch.Tensor  # k and q since before the chunk [..., 2, C, D]
    k: torch.Tensor  # until its end [..., C, D]
    kept: torch.Tensor  # of the state before, until its end [..., 1 or D, 1]


def decayed(q, k, decay, numbers):
    """q, k [B, C, K, D], decay [B, C, H] or [B, C, H, D], numbers as of `chunk_by_chunk` -> Decayed."""
    wide, (_, _, keys, width) = wide_of(q), k.shape
    rows = unit(torch.stack((k, q), dim=1).to(wide)).transpose(2, 3).unsqueeze(2)  # [B, 2, 1, K, C, D]
    rows = rows.movedim((1, 3), (3, 1)) * rows.new_tensor((1.0, width**-0.5))[:, None, None]  # [B, K, 1, 2, C, D]
    decay = decay.to(wide).transpose(1, 2).unflatten(1, (keys, -1))
    found = (_by_channel if decay.dim() == 5 else _by_head)(rows, decay)
    return found if numbers is None else _within(found, _borders(numbers))


def _within(found, borders):
    """The same, where only tokens of one document have to do with each other."""
    same, before, after, kept = (t[:, None, None] for t in borders)
    return Decayed(
        found.pairs * same[..., None, :, :],
        found.rows * before[..., None, :, None],
        found.k * after[..., None],
        found.kept * kept[..., None, None],
    )


def _by_head(rows, decay):
    """rows [B, K, 1, 2, C, D], decay [B, K, R, C]: one factor for all of a product."""
    since, wide, k = decay.cumsum(-1, dtype=torch.float64), decay.dtype, rows[..., 0, :, :]
    between = _between(since[..., None], wide).squeeze(-1)
    return Decayed(
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
    return Decayed(
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
    on_diagonal(found, block).copy_(_by_definition(rows.unflatten(-2, (-1, block)), since.unflatten(-2, (-1, block))))
    while block < size:
        earlier, later = rows[..., 0, :, :].unflatten(-2, (-1, 2, block)), rows.unflatten(-2, (-1, 2, block))
        passed = since.unflatten(-2, (-1, 2, block))
        middle = passed[..., 0, -1:, :]
        earlier = earlier[..., 0, :, :] * (middle - passed[..., 0, :, :]).to(rows.dtype).exp()  # [..., n, block, D]
        later = later[..., 1, :, :] * (passed[..., 1, :, :] - middle).to(rows.dtype).exp().unsqueeze(
            -4
        )  # [..., 2, n, block, D]
        on_diagonal(found, 2 * block)[..., block:, :block].copy_(later @ earlier.mT.unsqueeze(-4))
        block *= 2
    return found[..., :length, :length]


def on_diagonal(square, block):
    """[..., n * block, n * block] -> its n blocks on the diagonal, [..., n, block, block], a view."""
    blocks = square.unflatten(-1, (-1, block)).unflatten(-3, (-1, block))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _by_definition(rows, since):
    """rows [..., 2, n, c, D], since [..., n, c, D] -> [..., 2, n, c, c]"""
    weighted = _between(since, rows.dtype) * rows[..., 0, :, :, :].unsqueeze(-3)  # [..., n, c, c, D]
    return (weighted.unsqueeze(-5) @ rows.unsqueeze(-1)).squeeze(-1)
