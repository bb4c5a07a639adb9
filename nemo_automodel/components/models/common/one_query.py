"""Attention of one query a head on a CPU, as a model reads its cache that writes one token after the other.

PyTorch's own takes ten times as long in bfloat16, and copies keys and values for heads that share them beside a mask.
"""

from nemo_automodel.components.models.common import simd


def is_one_query(module, q, k, v):
    """Whether `one_query` reads what `sdpa` would for this attention: without gradients, q [B, N, 1, D], k and v
    [B, K, T, D]."""
    if q.shape[2] != 1 or not len(q) or not simd.suits(q, k, v):
        return False
    is_plain = module.softcap is None and module.sinks is None and not (module.training and module.dropout)
    return is_plain and k.is_contiguous() and v.is_contiguous()


def one_query(q, k, v, mask, scale):
    """q [B, N, 1, D], k [B, K, T, D], v [B, K, T, E], additive mask [B or 1, N or 1, 1, T] or None -> [B, 1, N, E].

    scale: None is D ** -0.5.
    """
    mask = None if mask is None else mask[:, :, 0].float().contiguous()
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return simd.one_query(q[:, :, 0].contiguous(), k, v, mask, scale)[:, None]
