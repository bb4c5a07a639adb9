"""What a mixer by the gated delta rule has beside its projections (Qwen3-Next; with decay by channel, Kimi Linear)."""

import math

import torch
from torch.nn import functional as F
from transformers import initialization as init

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.causal_conv import ConvolvedMixer
from nemo_automodel.components.models.common.delta_rule import form
from nemo_automodel.components.models.common.releases import recurrent_state, update_recurrent_state


class GatedDeltaNet(ConvolvedMixer):
    """Sizes, short convolutions of queries, keys and values, and the state that a cache keeps.

    B batch, S positions, K key heads, H value heads, D width of a key, E of a value.
    decay_bound: the logarithm of the decay lies between it and 0; None: anywhere below 0.
    """

    has_one_order = False
    decay_bound = None

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        self.rule = form(backend.delta_rule)

    def set_sizes(self, key_heads, heads, key_dim, value_dim, activation):
        """Numbers and widths of heads, and what acts on convolved values."""
        self.key_heads, self.heads, self.key_dim, self.value_dim = key_heads, heads, key_dim, value_dim
        self.key_width, self.value_width = key_heads * key_dim, heads * value_dim
        self.activation = ACT[activation]

    def convolved_heads(self, conv, qkv, mask, cache, **kwargs):
        """qkv [B, S, 2 * K * D + H * E] -> q, k [B, S, K, D], v [B, S, H, E]."""
        qkv = self.activation(self.convolved(conv, qkv, mask, cache, **kwargs))
        q, k, v = qkv.split((self.key_width, self.key_width, self.value_width), dim=-1)
        q, k = (t.unflatten(-1, (self.key_heads, -1)) for t in (q, k))
        return q, k, v.unflatten(-1, (self.heads, -1))

    def log_decay(self, A_log, a, dt_bias):
        """a [B, S, H] or [B, S, H * D] -> the logarithm of the decay in fp32, [B, S, H] or [B, S, H, D]."""
        rate, step = A_log.float().exp().flatten(), a.float() + dt_bias.float()
        if step.shape[-1] != self.heads:
            rate, step = rate[:, None], step.unflatten(-1, (self.heads, -1))
        if self.decay_bound is None:
            return -rate * F.softplus(step)
        return self.decay_bound * torch.sigmoid(rate * step)

    def recalled(self, q, k, v, decay, beta, mask, cache):
        """What the state answers to q: [B, S, H, E]. Padding neither writes to the state nor lets it decay."""
        documents, text = (None, None) if mask is None else (mask.documents, mask.text)
        if text is not None:
            decay, beta = decay * text.view(*text.shape, *[1] * (decay.dim() - 2)), beta * text[..., None]
        state = None if cache is None else recurrent_state(cache, self.layer_idx)
        y, state = self.rule(q, k, v, decay, beta, state=state, documents=documents)
        if cache is not None:
            update_recurrent_state(cache, state, self.layer_idx)
        return y


def blocks(x, widths, groups=1):
    """x [..., w_1 + w_2 + ...] -> [..., w_1], [..., w_2], ...: each has a block in every group."""
    return [part.flatten(-2) for part in grouped(x, widths, groups)]


def grouped(x, widths, groups=1):
    """The same without a copy: [..., groups, w_1 / groups], ..."""
    return x.unflatten(-1, (groups, -1)).split([width // groups for width in widths], dim=-1)


def gated(y, z, activation):
    """y [B, S, H, E] times its gate z [B, S, H * E], in fp32, rounded once to z's dtype: [B, S, H * E]."""
    wide = torch.promote_types(y.dtype, torch.float32)
    return (y.flatten(-2).to(wide) * activation(z.to(wide))).to(z.dtype)


def start_by_head(A_log, dt_bias):
    """As Qwen3-Next starts: rates between 0.01 and 16, every step alike."""
    init.uniform_(A_log, 0.01, 16.0)
    init.copy_(A_log, A_log.log())
    init.ones_(dt_bias)


def start_by_channel(A_log, dt_bias):
    """As Kimi Linear starts: rates between 1 and 16, and steps between 0.001 and 0.1, evenly by their logarithms."""
    init.uniform_(A_log, 1.0, 16.0)
    init.copy_(A_log, A_log.log())
    init.uniform_(dt_bias, math.log(1e-3), math.log(1e-1))
    step = dt_bias.exp()
    init.copy_(dt_bias, step + torch.log(-torch.expm1(-step)))
