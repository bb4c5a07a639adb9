"""Keywords of a forward pass that it does not name: handed on to layers, attention and loss, or refused."""

import inspect

from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import TransformersKwargs

LOSS = ("num_items_in_batch", "shift_labels", "ignore_index")
# Of the loss; of transformers' decorators; and what tokenizers add, which no decoder has a use for.
READ = frozenset(TransformersKwargs.__annotations__) | {
    *(*LOSS, "debug_io", "debug_io_dir", "prune_layers", "token_type_ids")
}


def of_loss(keywords):
    """Those that the loss reads and that say something."""
    return {name: keywords[name] for name in LOSS if keywords.get(name) is not None}


def refuse_unread(keywords, config):
    """Raises TypeError for a keyword with a value that neither this library nor the attention function reads.

    Attention functions that users register may have keywords of their own.
    """
    unread = [name for name, value in keywords.items() if value is not None and name not in READ]
    if unread:
        function = ALL_ATTENTION_FUNCTIONS.get(config._attn_implementation)
        named = () if function is None else inspect.signature(function).parameters
        unread = [name for name in unread if name not in named]
    if unread:
        raise TypeError(f"forward reads no {', '.join(unread)}: leave it out (a cache is given as past_key_values)")
