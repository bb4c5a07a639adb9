"""What differs between the releases of transformers that this library runs with. Nothing else asks for a version.

Names say since which release something is so. The range is that of library/needs.py.
"""

import logging

import torch
import transformers
from torch import nn
from transformers import cache_utils
from transformers.cache_utils import LinearAttentionCacheLayerMixin
from transformers.generation.continuous_batching.cache import PagedAttentionCache
from transformers.modeling_layers import GradientCheckpointingLayer

OLDEST, NEWEST = (5, 17), (5, 24)


def release(version):
    """The release of a version, as numbers: "5.24.0.dev0" -> (5, 24)."""
    return tuple(int(part) for part in version.split(".")[:2])


def warn_if_untested(version):
    """One line where a release is newer than all that this library was tested with."""
    if release(version) > NEWEST:
        newest = ".".join(map(str, NEWEST))
        text = "transformers %s is newer than %s, the last that was tested: prove your models with `codegen parity`"
        logging.getLogger("nemo_automodel").warning(text, version, newest)


VERSION = transformers.__version__
INSTALLED = release(VERSION)
warn_if_untested(VERSION)

# Names in memory that Aria's experts had before 5.18, and their names since. Ours have these with every release.
RENAMED_IN_5_18 = {
    "experts.fc1.weight": "experts.gate_up_proj",
    "experts.fc2.weight": "experts.down_proj",
}

SINCE_5_21 = INSTALLED >= (5, 21)
SINCE_5_23 = INSTALLED >= (5, 23)
SINCE_5_24 = INSTALLED >= (5, 24)

# Whether routers whose products are in fp32 have weights in fp32 too: in deepseek_v2, deepseek_v3, glm4_moe and
# glm4_moe_lite. Ours have at every release (ADR 0016); parity gives references of older ones the same.
PINS_ROUTERS = SINCE_5_24

# Whether transformers' classes with longrope by kind of layer find their long tables in a second forward: before 5.21
# they fail there. Parity lets references of older ones compute them anew.
FINDS_LONG_TABLES = SINCE_5_21

# Whether gated norms of mamba2, bamba and granitemoehybrid have a group for each group of B and C, as their
# checkpoints' authors have. Ours have at every release (ADR 0018); parity gives references of older ones the same.
GROUPS_NORMS = SINCE_5_23

# Whether Nemotron-H's norms multiply by their weight before they round. Ours do at every release (ADR 0016); parity
# gives references of older ones the same.
MULTIPLIES_NORMS_IN_FP32 = INSTALLED >= (5, 22)

# Whether queries and keys that were turned by fp32 tables are rounded before their product (codegen). Ours are at every
# release (ADR 0016); parity rounds those of older references, which round keys only from a cache.
ROUNDS_TURNED_HEADS = SINCE_5_24

# Whether opt, xglm and biogpt draw a number for each layer in training even where `layerdrop` is 0, which moves the
# numbers that their dropouts draw.
DRAWS_FOR_LAYERS = not SINCE_5_24

# What forwards, mask functions, outputs and `generate` call the cache.
CACHE = "cache" if SINCE_5_24 else "past_key_values"

# What `generate` of releases before 5.23 calls the cache of a model of states alone, whose length it must not ask for.
STATES = "cache_params"

NO_WAY_BACK = "a recurrent state cannot be cropped: generate without an assistant or prompt lookup"


def sort_cache(past_key_values, cache, keywords):
    """(the cache that a caller gave under either name, the keywords for attention).

    Until 5.23 a cache of pages, `generate_batch`'s, is called `cache` and goes to the attention function as it is.
    Raises TypeError where both names are given.
    """
    if past_key_values is not None and cache is not None:
        raise TypeError("past_key_values and cache name the same thing: give one of them")
    if is_paged(cache) and not SINCE_5_24:
        return None, {**keywords, "cache": cache}
    return cache if past_key_values is None else past_key_values, keywords


def is_paged(cache):
    """Whether it is the cache of `generate_batch`, which brings keywords of its own."""
    return isinstance(cache, PagedAttentionCache)


def update_cache(cache, k, v, layer_idx, keywords):
    """All keys and values of a layer, the new ones appended. Since 5.24 pages complete the attention's keywords."""
    if SINCE_5_24:
        return cache.update(k, v, layer_idx, kwargs=keywords)
    return cache.update(k, v, layer_idx)


def idle_cache_layer():
    """What a cache holds for a layer that mixes no tokens; before transformers had such a thing, a state that stays
    empty."""
    idle = getattr(cache_utils, "DummyLayer", cache_utils.LinearAttentionLayer)
    return idle()


def update_conv_state(cache, x, layer_idx, taps):
    """The inputs of a convolution [B, H, up to taps + S], the new ones x [B, H, S] last.

    Raises ValueError for a cache without a place for them.
    """
    _of_states(cache, layer_idx)
    return cache.update_conv_state(x, layer_idx, conv_kernel_size=taps)


def recurrent_state(cache, layer_idx):
    """What a layer's state was after the tokens before; None at the start. Raises ValueError as `update_conv_state`."""
    layer = _of_states(cache, layer_idx)
    return layer.recurrent_states[0] if layer.is_recurrent_states_initialized[0] else None


def update_recurrent_state(cache, state, layer_idx):
    """Puts a state in the place of the one before. Raises ValueError as `update_conv_state`, and for a cache that may
    have to go back, which states cannot."""
    if _of_states(cache, layer_idx).record_past:
        raise ValueError(NO_WAY_BACK)
    cache.update_recurrent_state(state, layer_idx)


def _of_states(cache, layer_idx):
    """The layer of a cache that holds states."""
    layer = cache.layers[layer_idx] if layer_idx < len(getattr(cache, "layers", ())) else None
    if not isinstance(layer, LinearAttentionCacheLayerMixin):
        raise ValueError(
            f"layer {layer_idx} of this {type(cache).__name__} holds no states: let the model make its cache, or build "
            "it from the config, DynamicCache(config=model.config)"
        )
    return layer


class CheckpointedLayer(GradientCheckpointingLayer):
    """A layer that gradient checkpointing replays only where there will be a backward pass, as transformers since 5.23.

    Before, it dropped the cache of a model that generates in train mode.
    """

    def __call__(self, *args, **kwargs):
        if SINCE_5_23 or torch.is_grad_enabled():
            return super().__call__(*args, **kwargs)
        return nn.Module.__call__(self, *args, **kwargs)
