"""Caches that a rotary table makes stale: past some length it turns all positions otherwise, those before as well.

Longrope does so once, dynamic scaling at every position beyond the trained ones. What a cache holds was computed with
the old table in every layer; the right value is the one without a cache, so that `generate` begins anew.
"""

import torch
from transformers import DynamicCache, StaticCache

from nemo_automodel.components.models.common.masks import cache_layers


def switching(tables):
    """Those of the rotary tables that depend on the length of the batch."""
    return [table for table in tables if table.scaling.variant is not None]


def switches(tables, before, after):
    """Whether a batch of `after` positions gets another table than one of `before`, of which there were some."""
    return before > 0 and any(table.scaling.variant(before) != table.scaling.variant(after) for table in tables)


def refuse_stale(tables, position_ids, cache):
    """Raises ValueError where new positions [B, S] switch a table under a cache with a past. A compiler cannot look."""
    if torch.compiler.is_compiling() or not cache.get_seq_length():
        return
    after = int(position_ids.max()) + 1
    if switches(tables, after - position_ids.shape[-1], after):
        raise ValueError(f"position {after - 1} gives all others another rotary table: begin anew, without this cache")


def empty(cache, kinds):
    """Forgets the past, in place. Raises ValueError for a cache that cannot."""
    if isinstance(cache, StaticCache):
        cache.reset()
    elif type(cache) is DynamicCache:
        cache.layers = cache_layers(kinds)
    else:
        raise ValueError(f"{type(cache).__name__} cannot begin anew where rotary tables switch: use a DynamicCache")
