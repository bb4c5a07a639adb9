"""Masks and caches, made from what layers declare, never from `config.sliding_window` or `config.layer_types`."""

import torch
from transformers import DynamicCache
from transformers.cache_utils import CacheLayerMixin

from nemo_automodel.components.models.common.mask_kinds import MaskKind, NoKind, TokenMixer


def mask_kind(layer):
    """What a decoder layer's token mixers declare. Raises ValueError where they disagree."""
    declared = {mixer.mask_kind for mixer in _mixers(layer)} or {NoKind()}
    if len(declared) > 1:
        raise ValueError(f"{type(layer).__name__}: its mixers want different masks: {sorted(map(str, declared))}")
    kind = declared.pop()
    if isinstance(kind, MaskKind) and kind.window is not None and kind.chunk is not None:
        raise ValueError(
            f"{type(layer).__name__}: window {kind.window} and chunk {kind.chunk} exclude each other; keep one"
        )
    return kind


def _mixers(layer):
    return [module for module in layer.modules() if isinstance(module, TokenMixer)]


def name_kinds(kinds):
    """{kind: name}, transformers' words; a second window or chunk size gets its number appended."""
    names = {}
    for kind in kinds:
        if kind not in names:
            names[kind] = f"{kind.name}_{kind.reach}" if kind.name in names.values() else kind.name
    return names


def cache_layers(kinds, max_length=None):
    """Cache layers for the mask kinds of all layers: growing ones, or static ones of a given length."""
    return [kind.cache_layer(max_length) for kind in kinds]


def seen(cache):
    """How many tokens a cache has seen; none that it knows of where no layer attends: states count nothing."""
    counts = cache is not None and any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)
    return cache.get_seq_length() if counts else 0


def dynamic_cache(kinds):
    cache = DynamicCache()
    cache.layers = cache_layers(kinds)
    return cache


def fill(cache, kinds):
    """Gives an empty cache that grows with its layers all of them at once, where some mix no tokens: it would ask the
    first how much was seen."""
    if type(cache) is DynamicCache and not cache.layers and NoKind() in kinds:
        cache.layers = cache_layers(kinds)


def with_bias(mask, alibi, attention_mask, key_offset, dtype, sum_dtype=None):
    """A mask [B, 1, S, T], boolean or additive in `dtype`, with ALiBi's biases added: [B, N, S, T] in `sum_dtype`."""
    smallest = torch.finfo(dtype).min
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, smallest)
    positions = alibi.positions(attention_mask, key_offset + mask.shape[-1], mask.device)
    return (mask + alibi(positions)[..., key_offset:]).clamp(min=smallest).to(sum_dtype or dtype)
