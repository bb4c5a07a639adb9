"""What token mixers may ask of masks and caches: keys for attention, padding and documents for what carries a state."""

from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers.cache_utils import (
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    StaticLayer,
    StaticSlidingWindowLayer,
)
from transformers.masking_utils import (
    create_causal_mask,
    create_chunked_causal_mask,
    create_sliding_window_causal_mask,
    find_packed_sequence_indices,
    sliding_window_overlay,
)
from transformers.utils import is_tracing
from transformers.utils.generic import is_flash_attention_requested

from nemo_automodel.components.models.common.releases import CACHE, SINCE_5_23, idle_cache_layer


class TokenMixer(nn.Module):
    """What mixes tokens. `mask_kind` says which mask its `forward` takes, and which layer of a cache.

    has_one_order: whether its sums are those of transformers' class term by term, so that half precision is too.
    """

    has_one_order = True

    @property
    def mask_kind(self):
        raise NotImplementedError(f"{type(self).__name__}: say which masks it takes")


class Blocks(NamedTuple):
    """Tokens that see each other in both directions. numbers [B, S]: of a token's block, -1 for none; in_windows:
    whether a window still hides what lies before it, and not what comes after."""

    numbers: torch.Tensor
    in_windows: bool = False

    def after(self, seen):
        """Those of all tokens, where a cache has `seen` some, which are in none."""
        return self._padded(seen, 0)

    def within(self, cache, layer_idx, length):
        """Those of every key that a layer of the cache makes room for."""
        keys, offset = (length, 0) if cache is None else cache.get_mask_sizes(length, layer_idx)
        return self._padded(0, max(keys + offset - self.numbers.shape[-1], 0))

    def _padded(self, before, behind):
        return self._replace(numbers=F.pad(self.numbers, (before, behind), value=-1))


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

    def cache_layer(self, max_length=None):
        """A growing layer of a cache, or a static one of a given length."""
        window = {} if self.reach is None else {"sliding_window": self.reach}
        if max_length is None:
            return DynamicSlidingWindowLayer(**window) if window else DynamicLayer()
        static = StaticSlidingWindowLayer if window else StaticLayer
        return static(max_cache_len=max_length, **window)

    def create(self, config, allow_is_causal_skip, blocks=None, **arguments):
        """The mask in the form that the config's attention implementation wants; None where it needs none.

        blocks: `Blocks`, of all tokens.
        """
        if allow_is_causal_skip and blocks is None and self._is_causal_enough(config, arguments):
            return None
        arguments["allow_is_causal_skip"] = allow_is_causal_skip
        if blocks is not None:
            if blocks.in_windows and self.window is not None:
                length = arguments["inputs_embeds"].shape[1]
                seen = _same_block(blocks.within(arguments[CACHE], arguments["layer_idx"], length).numbers)
                arguments |= {"or_mask_function": seen, "and_mask_function": sliding_window_overlay(self.window)}
                return create_causal_mask(config=config, **arguments)
            arguments["block_sequence_ids"] = blocks.numbers
        if self.window is not None:
            return create_sliding_window_causal_mask(config=_with(config, sliding_window=self.window), **arguments)
        if self.chunk is None:
            return create_causal_mask(config=config, **arguments)
        counted = SINCE_5_23 or is_flash_attention_requested(config)  # from the start of each packed sequence
        packed = None if counted else _packed(arguments)
        if packed is None:
            return create_chunked_causal_mask(config=_with(config, attention_chunk_size=self.chunk), **arguments)
        return create_causal_mask(config=config, and_mask_function=_same_chunk(packed, self.chunk), **arguments)

    def _is_causal_enough(self, config, arguments):
        """Whether sdpa's `is_causal` says it all.

        transformers makes a mask whenever a model is traced, and wherever a text is padded. The first costs a compiled
        step the causal kernel; the second is not needed where padding is behind: no token sees what comes after it.
        """
        length = arguments["inputs_embeds"].shape[1]
        if config._attn_implementation != "sdpa" or (self.reach is not None and length > self.reach):
            return False
        if torch.compiler.is_exporting():
            return False
        padding, cache = arguments["attention_mask"], arguments.get(CACHE)
        if torch.compiler.is_compiling():  # a compiler cannot look at values
            return padding is None and cache is None and arguments.get("position_ids") is None
        return _is_behind(padding, length) and _has_seen_none(cache, arguments["layer_idx"], length)


def _is_behind(padding, length):
    """Whether each row of a mask [B, S] is of tokens first, and of padding behind them."""
    if padding is None or padding.shape != (len(padding), length) or is_tracing(padding):
        return False
    text = padding.bool()
    return bool((text[:, :-1] >= text[:, 1:]).all())


def _has_seen_none(cache, layer_idx, length):
    """Whether the keys of a layer are those of the new tokens alone."""
    return cache is None or cache.get_mask_sizes(length, layer_idx) == (length, 0)


class Rows(NamedTuple):
    """What a state must know of a batch. text [B, S]: False where a token is padding; first [B, S]: True at the first
    token of a row that is none; documents [1 or B, S]: numbers of packed sequences. None means: no padding, or one
    sequence a row."""

    text: torch.Tensor | None = None
    documents: torch.Tensor | None = None
    first: torch.Tensor | None = None

    def contiguous(self):
        """Itself, as both are: `generate` of 5.22 asks every mask that it hands over."""
        return self


@dataclass(frozen=True)
class StateKind:
    """For a mixer that carries a state of fixed size from token to token."""

    name = "linear_attention"
    reach = None

    def cache_layer(self, max_length=None):
        """A layer of a cache, static by nature."""
        return LinearAttentionLayer()

    def create(self, config, allow_is_causal_skip, blocks=None, **arguments):
        """`Rows`, of the new tokens alone; None where there is neither padding nor a second sequence in a row."""
        mask, length = arguments["attention_mask"], arguments["inputs_embeds"].shape[1]
        if mask is None:
            documents = _packed(arguments)
            return None if documents is None else Rows(documents=documents)
        if mask.ndim != 2:
            return None
        text, seen = mask[:, -length:].bool().contiguous(), mask[:, :-length].any(-1, keepdim=True)
        can_look = not torch.compiler.is_compiling()
        if can_look and bool(text.all()) and (mask.shape[1] == length or bool(seen.all())):
            return None
        return Rows(text=text, first=text & (text.cumsum(-1) == 1) & ~seen)


@dataclass(frozen=True)
class NoKind:
    """For a layer that mixes no tokens: it needs no mask, and holds nothing in a cache."""

    name = "no_attention"
    reach = None

    def cache_layer(self, max_length=None):
        """A layer of a cache that stays empty, and that the cache does not ask how much it has seen."""
        return idle_cache_layer()

    def create(self, config, allow_is_causal_skip, blocks=None, **arguments):
        return None


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


def _same_block(numbers):
    """Whether a query and a key are of one block [B, T]."""

    def same_block(batch, head, query, key):
        return (numbers[batch, query] == numbers[batch, key]) & (numbers[batch, query] >= 0)

    return same_block


def _with(config, **fields):
    """The config, or a shallow copy where a field differs: transformers' functions read them from there."""
    if all(getattr(config, name, None) == value for name, value in fields.items()):
        return config
    config = copy(config)
    for name, value in fields.items():
        setattr(config, name, value)
    return config
