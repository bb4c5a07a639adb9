"""What mixers that carry a state from token to token do alike, whatever the state is."""

from nemo_automodel.components.models.common import chunked_decay
from nemo_automodel.components.models.common.mask_kinds import StateKind, TokenMixer
from nemo_automodel.components.models.common.releases import is_paged, recurrent_state, update_recurrent_state


class StatefulMixer(TokenMixer):
    """A mixer whose state a cache remembers."""

    mask_kind = StateKind()

    def __init__(self, config, layer_idx, backend):
        super().__init__()
        self.config, self.layer_idx, self.backend = config, layer_idx, backend


def refuse_pages(keywords):
    """Raises ValueError where the keywords of a layer hold the cache of `generate_batch`."""
    if is_paged(keywords.get("cache")):
        raise ValueError("a cache of pages holds no states: generate without `generate_batch`")


def summed(form, q, k, v, decay, mask, cache, layer_idx):
    """Sums over a past that decays by head, as `chunked_decay` has them, after and into a cache: y [B, S, H, P].

    form: of several tokens. decay [B, S, H]: logarithms; that of padding is to be 0, so that its state stays.
    """
    before = None if cache is None else recurrent_state(cache, layer_idx)
    if before is not None and v.shape[1] == 1:
        y, after = chunked_decay.step(q, k, v, decay, before)
    else:
        documents = None if mask is None else mask.documents
        y, after = form(q, k, v, decay, before, documents)
    if cache is not None:
        update_recurrent_state(cache, after, layer_idx)
    return y
