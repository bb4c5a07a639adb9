"""Lightning attention (arXiv 2401.04658): a sum over the past that decays by head, as fast at every token."""

import torch

from nemo_automodel.components.models.common import chunked_decay
from nemo_automodel.components.models.common.activated_sum import ActivatedSum
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.stateful import StatefulMixer, continued, refuse_pages


class Lightning(StatefulMixer):
    """Sizes, and the sum of what was activated.

    B batch, S positions, N heads, D width of a head.
    """

    has_one_order = False

    def __init__(self, config, layer_idx, backend):
        super().__init__(config, layer_idx, backend)
        self.sum = chunked_decay.form(backend.scan)

    def set_sizes(self, heads, head_dim, decay, activation):
        """decay: of the layer, by which each head's rate is multiplied. activation: of queries, keys and values."""
        self.heads, self.head_dim, self.width = heads, head_dim, heads * head_dim
        self.decay, self.activation = decay, ACT[activation]

    def rates(self, x):
        """Logarithms of what a token leaves of states, [N] in fp32 or wider: -decay * 2^(-8i/N) of the i-th head."""
        wide = torch.promote_types(x.dtype, torch.float32)
        places = torch.arange(1, self.heads + 1, device=x.device, dtype=wide)
        return -self.decay * torch.exp2(places * (-8 / self.heads))

    def remembered(self, q, k, v, mask, cache, **kwargs):
        """q, k, v [B, S, ...], N * D numbers a token, not yet activated -> y [B, S, N * D] of their dtype."""
        refuse_pages(kwargs)
        heads = [one.reshape(*one.shape[:2], self.heads, self.head_dim) for one in (q, k, v)]
        sums = ActivatedSum(self.activation, self.rates(v), None if mask is None else mask.text)
        form = sums.chunked if self.sum is chunked_decay.chunked else sums.around(self.sum)
        y = continued(sums.around(chunked_decay.step), form, heads, mask, cache, self.layer_idx)
        return y.flatten(-2).to(v.dtype)
