"""Masks and caches, made from what layers declare, never from `config.sliding_window` or `config.layer_types`."""

from copy import copy
from dataclasses import dataclass

import torch
from transformers import DynamicCache
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    StaticLayer,
    StaticSlidingWindowLayer,
)
from transformers.masking_utils import (
    create_causal_mask,
    create_chunked_causal_mask,
    create_sliding_window_causal_mask,
    find_packed_sequence_indices,
)
from transformers.utils.generic import is_flash_attention_requested

from nemo_automodel.components.models.common.attention import Attention
from nemo_automodel.components.models.common.releases import CACHE, SINCE_5_23


@dataclass(frozen=True)
class MaskKind:
    """Which keys a query sees besides causality: the nearest `window`, or those of its block of `chunk` positions."""

    window: int | None = None
    chunk: int | None = None

    @property
    def name(self):
        """transformers' word for it."""
        if self.window is not None:
            return "sliding_attention"
        return "full_attention" if self.chunk is None else "chunked_attention"

    @property
    def reach(self):
        """How many keys a cache must keep; None keeps all."""
        return self.window if self.chunk is None else self.chunk

    def create(self, config, allow_is_causal_skip, **arguments):
        """The mask in the form that the config's attention implementation wants; None where it needs none."""
        if allow_is_causal_skip and self._is_plain(config, arguments):
            return None
        arguments["allow_is_causal_skip"] = allow_is_causal_skip
        if self.window is not None:
            return create_sliding_window_causal_mask(config=_with(config, sliding_window=self.window), **arguments)
        if self.chunk is None:
            return create_causal_mask(config=config, **arguments)
        counted = SINCE_5_23 or is_flash_attention_requested(config)  # from the start of each packed sequence
        packed = None if counted else _packed(arguments)
        if packed is None:
            return create_chunked_causal_mask(config=_with(config, attention_chunk_size=self.chunk), **arguments)
        return create_causal_mask(config=config, and_mask_function=_same_chunk(packed, self.chunk), **arguments)

    def _is_plain(self, config, arguments):
        """Whether sdpa's `is_causal` says it all, without a look at any value: a compiler cannot look.

        transformers makes a mask whenever a model is traced, which costs a compiled step the causal kernel.
        """
        if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
            return False
        given = (arguments[name] for name in ("attention_mask", "position_ids", CACHE))
        if config._attn_implementation != "sdpa" or any(value is not None for value in given):
            return False
        return self.reach is None or arguments["inputs_embeds"].shape[1] <= self.reach


def _packed(arguments):
    """[1 or B, S]: the number of the sequence that a token belongs to, where positions tell; None where they do not."""
    given = arguments["attention_mask"], arguments[CACHE]
    if arguments["position_ids"] is None or any(value is not None for value in given):
        return None
    return find_packed_sequence_indices(arguments["position_ids"])


def _same_chunk(packed, chunk):
    """Chunks counted from the start of each packed sequence, as transformers does since 5.23."""
    places = torch.arange(packed.shape[-1], device=packed.device)
    is_first = torch.diff(packed, prepend=packed[:, :1], dim=-1) != 0
    chunks = (places - (places * is_first).cummax(-1).values) // chunk
    several = len(chunks) > 1

    def same_chunk(batch, head, query, key):
        row = batch if several else 0
        return chunks[row, query] == chunks[row, key]

    return same_chunk


def _with(config, **fields):
    """The config, or a shallow copy where a field differs: transformers' functions read them from there."""
    if all(getattr(config, name, None) == value for name, value in fields.items()):
        return config
    config = copy(config)
    for name, value in fields.items():
        setattr(config, name, value)
    return config


def mask_kind(layer):
    """What a decoder layer's attention declares. Raises ValueError where its attentions disagree."""
    declared = {(a.window, a.chunk) for a in layer.modules() if isinstance(a, Attention)} or {(None, None)}
    if len(declared) > 1:
        raise ValueError(f"{type(layer).__name__}: its attentions want different masks: {sorted(map(str, declared))}")
    window, chunk = declared.pop()
    if window is not None and chunk is not None:
        raise ValueError(f"{type(layer).__name__}: window {window} and chunk {chunk} exclude each other; keep one")
    return MaskKind(window, chunk)


def refuse_late_attention(layers):
    """Raises ValueError where the first layer has no attention and another has: caches count the past by the first."""
    attending = [any(isinstance(module, Attention) for module in layer.modules()) for layer in layers]
    if any(attending) and not attending[0]:
        raise ValueError(
            f"layer 0 has no attention and layer {attending.index(True)} has: caches count what was seen in layer 0; "
            "let it attend"
        )


def name_kinds(kinds):
    """{kind: name}, transformers' words; a second window or chunk size gets its number appended."""
    names = {}
    for kind in kinds:
        if kind not in names:
            names[kind] = f"{kind.name}_{kind.reach}" if kind.name in names.values() else kind.name
    return names


def cache_layers(kinds, max_length=None):
    """Cache layers for the mask kinds of all layers: growing ones, or static ones of a given length."""
    if max_length is None:
        return [DynamicLayer() if k.reach is None else DynamicSlidingWindowLayer(sliding_window=k.reach) for k in kinds]
    return [
        (
            StaticLayer(max_cache_len=max_length)
            if k.reach is None
            else StaticSlidingWindowLayer(max_cache_len=max_length, sliding_window=k.reach)
        )
        for k in kinds
    ]


def dynamic_cache(kinds):
    cache = DynamicCache()
    cache.layers = cache_layers(kinds)
    return cache


def with_bias(mask, alibi, attention_mask, key_offset, dtype):
    """A mask [B, 1, S, T], boolean or additive, with ALiBi's biases added: [B, N, S, T] in `dtype`."""
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    bias = alibi(_key_positions(attention_mask, key_offset + mask.shape[-1], mask.device))[..., key_offset:]
    return (mask + bias).clamp(min=torch.finfo(dtype).min).to(dtype)


def _key_positions(attention_mask, length, device):
    """[1 or B, T]: positions count the tokens that are not padding."""
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(length, device=device)[None]
    positions = ((attention_mask.cumsum(-1) - 1) * attention_mask)[:, :length]
    return torch.nn.functional.pad(positions, (0, length - positions.shape[-1]))
