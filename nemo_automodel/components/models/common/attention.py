"""Attention over cached keys and values, through transformers' attention interface."""

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from nemo_automodel.components.models.common.functional import softcap as cap
from nemo_automodel.components.models.common.mask_kinds import MaskKind, TokenMixer
from nemo_automodel.components.models.common.one_query import is_one_query, one_query
from nemo_automodel.components.models.common.pinned import keeping
from nemo_automodel.components.models.common.releases import update_cache
from nemo_automodel.components.models.common.unkept_scores import read


class Attention(TokenMixer):
    """What `attend` and attention interfaces read from their module. Subclasses set what differs.

    scale: factor of the scores. softcap: bound of the scores. window: how many keys a query sees, itself included.
    chunk: size of the blocks that do not see each other. dropout: of the weights. None means absent.
    scores_dtype, softmax_dtype: where the eager specification multiplies q and k, and takes the softmax; None for
    scores is the model's dtype, and None for the softmax too. scaled_at_once: product, scale and biases are rounded
    together.
    sinks: learned scores [N] that take their share; `sinks_pinned` ones are fp32 whatever the model is.
    beside_sinks: whether other layers have sinks; the scores of all are then taken from their largest.
    """

    is_causal = True
    scale = softcap = window = chunk = None
    sinks_are_factors = sinks_pinned = beside_sinks = scaled_at_once = False
    dropout = 0.0
    rotary = True
    scores_dtype, softmax_dtype = None, torch.float32
    num_key_value_groups = 1

    def __init__(self, config, layer_idx, backend):
        super().__init__()
        self.config, self.layer_idx, self.backend = config, layer_idx, backend
        self.register_parameter("sinks", None)

    @property
    def mask_kind(self):
        return MaskKind(self.window, self.chunk)

    def setup_sinks(self, heads, here=True):
        """One learned score a head [N], to which attention may go without reading anything (gpt-oss).

        here: whether this layer has them, where only some have.
        """
        if here:
            self.sinks = nn.Parameter(torch.empty(heads, dtype=torch.float32 if self.sinks_pinned else None))

    def pinned_names(self):
        """Names of the tensors that are fp32 whatever the model is."""
        return ["sinks"] if self.sinks_pinned else []

    def _apply(self, fn, recurse=True):
        return super()._apply(keeping(fn, [self.sinks]) if self.sinks_pinned else fn, recurse)

    def initialize(self, std):
        for name, parameter in self.named_parameters(recurse=False):
            if name == "sinks" and not self.sinks_are_factors:
                init.normal_(parameter, mean=0.0, std=std)
            else:  # a number a head that is added to its gate, or a sink as Granite has it
                init.zeros_(parameter)


def split_heads(x, head_dim):
    """[B, S, N * D] -> [B, N, S, D]."""
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)


def split_gate(q, head_dim):
    """Queries with their gates, head by head [B, S, N * 2 * D] -> queries and gates [B, S, N * D] x 2 (Qwen3-Next)."""
    parts = q.unflatten(-1, (-1, 2 * head_dim)).split(head_dim, dim=-1)
    return tuple(part.flatten(-2) for part in parts)


def gate_heads(y, gate, activation=torch.sigmoid, bias=None):
    """y [B, S, N * E] times the activation of a gate [B, S, N * E], or of one for each head [B, S, N].

    bias [N] is added to all gates of a head.
    """
    if bias is not None:
        gate = (gate.unflatten(-1, (len(bias), -1)) + bias[:, None]).flatten(-2)
    if gate.shape == y.shape:
        return y * activation(gate)
    return (y.unflatten(-1, (gate.shape[-1], -1)) * activation(gate)[..., None]).flatten(-2)


def attend(module, q, k, v, mask, past_key_values=None, **kwargs):
    """Caches k and v, then calls the config's attention implementation.

    q [B, N, S, D], k [B, K, S, D], v [B, K, S, E] -> y [B, S, N * E], and the weights [B, N, S, T] or None.
    """
    if past_key_values is not None:
        k, v = update_cache(past_key_values, k, v, module.layer_idx, kwargs)
    interface = ALL_ATTENTION_FUNCTIONS.get_interface(module.config._attn_implementation, eager_attention)
    if not q.shape[0]:  # since 5.23 sdpa fails where there is no text
        interface, mask = eager_attention, None
    elif module.config._attn_implementation == "sdpa" and not torch.compiler.is_compiling():
        mask = additive(mask, q.dtype)
        if is_one_query(module, q, k, v):
            return one_query(q, k, v, mask, module.scale).flatten(-2), None
    y, weights = interface(
        module,
        q,
        k,
        v,
        mask,
        scaling=module.scale,
        dropout=module.dropout if module.training else 0.0,
        sliding_window=module.window,
        softcap=module.softcap,
        **({} if module.sinks is None else {"s_aux": module.sinks}),
        **kwargs,
    )
    return y.flatten(-2), weights


def additive(mask, dtype):
    """A boolean mask as what is added to scores [B, 1, S, T], once for all layers that share it: sdpa would make its
    own for each, and keep it for the backward pass. Any other mask is returned as it is."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    made = getattr(mask, "additive", None)
    if made is None or made.dtype != dtype:
        made = mask.additive = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, float("-inf"))
    return made


def eager_attention(module, q, k, v, mask, *, scaling, dropout=0.0, softcap=None, **kwargs):
    """The specification of every other implementation: soft-capped scores, a masked softmax, weighted values."""
    dropout = dropout if module.training else 0.0
    if dropout or module.sinks is not None:
        return _with_scores_kept(module, q, k, v, mask, scaling, dropout, softcap)

    def weigh(q, k, mask, dtype=v.dtype):
        return attention_weights(module, masked_scores(module, q, k, mask, scaling, softcap)).to(dtype)

    y, weights = read(weigh, q, k, v, mask)
    return y.transpose(1, 2).contiguous(), weights


def _with_scores_kept(module, q, k, v, mask, scaling, dropout, softcap):
    """With random numbers that are drawn once, or parameters that take a share."""
    k, v = (t.repeat_interleave(module.num_key_value_groups, dim=1) for t in (k, v))
    scores = masked_scores(module, q, k, mask, scaling, softcap)
    weights = nn.functional.dropout(attention_weights(module, scores).to(v.dtype), p=dropout)
    y = weights @ v
    if module.sinks_are_factors and module.sinks is not None:
        y = y * beside_sink(module, scores).to(y.dtype)
    return y.transpose(1, 2).contiguous(), weights


def masked_scores(module, q, k, mask, scaling, softcap):
    """Scores [B, N, S, T] of q and k [B, N, T, D], scaled, soft-capped and masked."""
    if module.scaled_at_once and mask is not None and not softcap:
        return at_once(q, k, scaling, mask.expand(*q.shape[:2], -1, -1).flatten(0, 1))
    scores = cap(products(module, q, k, scaling), softcap)
    return scores if mask is None else scores + mask


def products(module, q, k, scaling):
    """Scores [B, N, S, T] of q and k, scaled."""
    if module.scaled_at_once:
        return at_once(q, k, scaling, q.new_zeros(1, 1, 1))
    dtype = module.scores_dtype or q.dtype
    return (q.to(dtype) @ k.to(dtype).transpose(2, 3)).mul_(scaling)


def at_once(q, k, scaling, biases):
    """Scores [B, N, S, T] of q and k, scaled, with biases [B * N, S, T]: rounded once."""
    scores = torch.baddbmm(biases, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=scaling)
    return scores.unflatten(0, q.shape[:2])


def attention_weights(module, scores):
    """The softmax of scores [B, N, S, T]; a sink is one more column (gpt-oss), or a factor on what is read."""
    if module.sinks is None or module.sinks_are_factors:
        return torch.softmax(
            from_largest(scores) if module.beside_sinks else scores, dim=-1, dtype=module.softmax_dtype
        )
    sinks = module.sinks.to(scores.dtype).view(1, -1, 1, 1)
    scores = torch.cat((scores, sinks.expand(*scores.shape[:-1], 1)), dim=-1)
    return torch.softmax(from_largest(scores), dim=-1, dtype=module.softmax_dtype)[..., :-1]


def beside_sink(module, scores):
    """The share [B, N, S, 1] of attention that a sink leaves: sigmoid(logsumexp - sink) in fp32, equal to a column of
    its own in exact arithmetic (Granite)."""
    return (torch.logsumexp(scores, dim=-1, keepdim=True) - module.sinks.view(1, -1, 1, 1)).float().sigmoid()


def from_largest(scores):
    """Scores less the largest of each row: bfloat16 overflows otherwise, and the difference is rounded to it."""
    return scores - scores.amax(dim=-1, keepdim=True)
