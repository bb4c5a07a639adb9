"""One chunk of the gated delta rule, and its gradients. The tokens' corrections of a state are a triangular system.

B batch, K key heads, R value heads to each, H all of them, C tokens of a chunk, D width of a key, E of a value.
"""

import torch

from nemo_automodel.components.models.common.delta_decays import decayed, on_diagonal, wide_of

BASE = 16  # the largest systems that are solved as such: those of two halves make that of both


def chunk(q, k, v, decay, beta, state, numbers):
    """As `chunk_by_chunk` wants it: y [B, C, H, E] in v's dtype, and the state after it."""
    found, dtype = decayed(q, k, decay, numbers), v.dtype
    v, beta, state = *_by_key_head(k, v, beta[..., None]), state.unflatten(1, (k.shape[2], -1))
    of_k, of_q = (found.rows.flatten(-3, -2) @ state).chunk(2, dim=-2)  # [B, K, R, C, E]
    to_k, to_q = found.pairs.unbind(-3)
    change = inverse(beta * to_k) @ (beta * (v - of_k))
    y = of_q + to_q @ change
    after = found.kept * state + found.k.mT @ change
    return y.flatten(1, 2).transpose(1, 2).to(dtype), after.flatten(1, 2)


def gradients(q, k, v, decay, beta, state, numbers, grad_y, grad_after):
    """Those of all inputs of `chunk` but numbers, for those of what it gives."""
    with torch.enable_grad():
        leaves = [one.detach().requires_grad_() for one in (q, k, decay)]
        found = decayed(*leaves, numbers)
    rows, (to_k, to_q) = found.rows.detach().flatten(-3, -2), found.pairs.detach().unbind(-3)
    v, beta, grad_y = _by_key_head(k, v, beta[..., None], grad_y)
    state, grad_after = (one.unflatten(1, (k.shape[2], -1)) for one in (state, grad_after))

    wrong = v - rows[..., : v.shape[-2], :] @ state
    solved = inverse(beta * to_k)
    change = solved @ (beta * wrong)
    grad_wanted = solved.mT @ (to_q.mT @ grad_y + found.k.detach() @ grad_after)
    grad_v = beta * grad_wanted
    grad_system, grad_to_q = (torch.cat((-grad_wanted, grad_y), dim=-2) @ change.mT).chunk(2, dim=-2)
    grad_beta = (grad_wanted * wrong).sum(-1) + (grad_system * to_k.tril(-1)).sum(-1)
    grad_answers = torch.cat((-grad_v, grad_y), dim=-2)
    grad_state = torch.addcmul(rows.mT @ grad_answers, found.kept.detach(), grad_after)
    grad_kept = (grad_after * state).sum(-1, keepdim=True)
    of_found = found._replace(
        pairs=torch.stack(((beta * grad_system).tril(-1), grad_to_q), dim=-3),
        rows=(grad_answers @ state.mT).unflatten(-2, (2, -1)),
        k=change @ grad_after.mT,
        kept=grad_kept.sum_to_size(found.kept.shape),
    )
    grad_q, grad_k, grad_decay = torch.autograd.grad(found, leaves, of_found)
    grad_v, grad_beta = (one.flatten(1, 2).transpose(1, 2) for one in (grad_v, grad_beta))
    return grad_q, grad_k, grad_v, grad_decay, grad_beta, grad_state.flatten(1, 2)


def _by_key_head(k, *tensors):
    """[B, C, H, ...] -> [B, K, R, C, ...], wide"""
    return [one.to(wide_of(one)).transpose(1, 2).unflatten(1, (k.shape[2], -1)) for one in tensors]


def inverse(system):
    """Of ones on the diagonal and `system` [..., C, C] below it; what lies elsewhere is not read.

    By halves, which is as exact as solving. Powers of the system are not: they grow before they vanish, and where keys
    are alike, nothing is left of their sum.
    """
    length, size = system.shape[-1], min(BASE, system.shape[-1])
    while size < length:
        size *= 2
    system = torch.nn.functional.pad(system, (0, size - length, 0, size - length))
    base = min(BASE, size)
    blocks = on_diagonal(system, base)
    ones = torch.eye(base, dtype=system.dtype, device=system.device)
    found = torch.linalg.solve_triangular(blocks, ones.expand_as(blocks), upper=False, unitriangular=True)
    while base < size:
        first, second = found.unflatten(-3, (-1, 2)).unbind(-3)
        below = -second @ on_diagonal(system, 2 * base)[..., base:, :base] @ first
        found = torch.cat((torch.nn.functional.pad(first, (0, base)), torch.cat((below, second), dim=-1)), dim=-2)
        base *= 2
    return found.squeeze(-3)[..., :length, :length]
