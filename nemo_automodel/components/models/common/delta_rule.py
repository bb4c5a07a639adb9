"""The gated delta rule (Yang et al. 2024, arXiv 2412.06464; decay by channel: Kimi Team 2025, arXiv 2510.26692).

A head's state [D, E] maps keys to values. Each token lets it decay, and corrects what it answers to the token's key.
B batch, S tokens, K key heads, H value heads (R to each key head), D width of a key, E of a value, C tokens of a chunk.
"""

import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common.backend import require
from nemo_automodel.components.models.common.chunk_by_chunk import chunk_by_chunk
from nemo_automodel.components.models.common.delta_chunk import chunk, gradients
from nemo_automodel.components.models.common.delta_decays import unit, wide_of

CHUNK = 64


def delta_rule_stepwise(q, k, v, decay, beta, *, state=None, documents=None):
    """The specification, token by token: S = exp(decay) S; S = S + k (beta (v - S^T k))^T; y = S^T q.

    q, k [B, S, K, D], of which unit vectors are made; v [B, S, H, E]; decay, a logarithm, [B, S, H] or [B, S, H, D];
    beta [B, S, H]; state [B, H, D, E], that of the tokens before; documents [1 or B, S]: each has a state of its own.
    Returns y [B, S, H, E] in v's dtype, and the last state in fp32.
    """
    wide, heads, found = wide_of(v), v.shape[2], []
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
        return _step(q, k, v, decay, beta, _first_state(state, k, v))
    return chunk_by_chunk(chunk, (q, k, v, decay, beta), _first_state(state, k, v), documents, CHUNK, gradients)


def _step(q, k, v, decay, beta, state):
    """One token after a state, without a copy of keys for each head."""
    dtype, wide, keys = v.dtype, wide_of(v), k.shape[2]
    q, k = (unit(t.to(wide)).squeeze(1)[:, :, None, None] for t in (q, k))  # [B, K, 1, 1, D]
    v, decay, beta = (t.to(wide).squeeze(1).unflatten(1, (keys, -1)) for t in (v, decay, beta))  # [B, K, R, ...]
    kept = (decay if decay.dim() == 4 else decay[..., None]).exp()[..., None]  # [B, K, R, 1 or D, 1]
    state = state.unflatten(1, (keys, -1))
    change = beta[..., None, None] * (v[..., None, :] - (k * kept.mT) @ state)
    state = torch.addcmul(state * kept, k.mT, change)
    y = (q * q.shape[-1] ** -0.5) @ state
    return y.flatten(1, 2).transpose(1, 2).to(dtype), state.flatten(1, 2)


def delta_rule_fla(q, k, v, decay, beta, *, state=None, documents=None):
    """The same by the kernels of the package flash-linear-attention. Raises ValueError where they cannot, with why."""
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule
    from fla.ops.kda import chunk_kda

    if reason := why_not_fla(k, v, documents):
        raise ValueError(f"backend.delta_rule: 'fla': {reason}; use 'torch' or 'auto'")
    q, k = (t.repeat_interleave(v.shape[2] // t.shape[2], dim=2) for t in (q, k))
    options = {"initial_state": state, "output_final_state": True, "use_qk_l2norm_in_kernel": True}
    if documents is not None:
        options["cu_seqlens"] = _starts(documents[0])
    y, last = (chunk_kda if decay.dim() == 4 else chunk_gated_delta_rule)(q, k, v, g=decay, beta=beta, **options)
    return y, last[-1:] if documents is not None else last


def why_not_fla(k, v, documents=None):
    """Why the package's kernels cannot take these, or None."""
    if not v.is_cuda:
        return f"its kernels run on a card, and v is on {v.device.type}"
    if v.dtype not in (torch.bfloat16, torch.float16):
        return f"its kernels take bfloat16 and float16, not {v.dtype}"
    if k.shape[-1] > 256:
        return f"its kernels take keys of 256 entries, not {k.shape[-1]}"
    return "it takes one packed row at a time" if documents is not None and len(v) > 1 else None


def delta_rule_by_device(q, k, v, decay, beta, *, state=None, documents=None):
    """The same by the package's kernels where they can, else by `delta_rule`."""
    fits = not torch.compiler.is_compiling() and why_not_fla(k, v, documents) is None
    return (delta_rule_fla if fits else delta_rule)(q, k, v, decay, beta, state=state, documents=documents)


def _starts(documents):
    """[S] -> where documents begin, and where the last ends."""
    changes = torch.nonzero(documents[1:] != documents[:-1]).flatten() + 1
    return F.pad(F.pad(changes, (1, 0)), (0, 1), value=len(documents))


FORMS = {
    "torch": delta_rule,
    "stepwise": delta_rule_stepwise,
    "fla": delta_rule_fla,
    "auto": delta_rule_by_device,
}


def form(name):
    """The function of a backend. Raises ImportError or RuntimeError for one that cannot run here."""
    require("delta_rule", name)
    return FORMS[name]


def _first_state(state, k, v):
    shape = len(v), v.shape[2], k.shape[3], v.shape[3]
    return v.new_zeros(shape, dtype=wide_of(v)) if state is None else state.to(wide_of(v))
