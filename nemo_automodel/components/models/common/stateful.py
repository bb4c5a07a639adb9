"""What mixers that carry a state from token to token do alike, whatever the state is."""

from nemo_automodel.components.models.common.mask_kinds import StateKind, TokenMixer
from nemo_automodel.components.models.common.nested import follow
from nemo_automodel.components.models.common.pinned import keeping
from nemo_automodel.components.models.common.releases import is_paged, recurrent_state, update_recurrent_state


class StatefulMixer(TokenMixer):
    """A mixer whose state a cache remembers.

    pinned: paths of the parameters that are fp32 whatever the model is.
    """

    mask_kind = StateKind()
    pinned = ()

    def __init__(self, config, layer_idx, backend):
        super().__init__()
        self.config, self.layer_idx, self.backend = config, layer_idx, backend

    def pinned_names(self):
        """Names of the tensors that are fp32 whatever the model is."""
        return list(self.pinned)

    def _apply(self, fn, recurse=True):
        return super()._apply(keeping(fn, [follow(self, path) for path in self.pinned]), recurse)


def refuse_pages(keywords):
    """Raises ValueError where the keywords of a layer hold the cache of `generate_batch`."""
    if is_paged(keywords.get("cache")):
        raise ValueError("a cache of pages holds no states: generate without `generate_batch`")


def continued(step, form, inputs, mask, cache, layer_idx):
    """y [B, S, ...] of tokens after a cache's state, which becomes that after them.

    step: (*inputs, state) -> (y, state) of one token; form: (*inputs, state or None, documents) -> the same of several.
    inputs: tensors of the tokens first. What padding does to a state is theirs to say.
    """
    before = None if cache is None else recurrent_state(cache, layer_idx)
    if before is not None and inputs[0].shape[1] == 1:
        y, after = step(*inputs, before)
    else:
        y, after = form(*inputs, before, None if mask is None else mask.documents)
    if cache is not None:
        update_recurrent_state(cache, after, layer_idx)
    return y
