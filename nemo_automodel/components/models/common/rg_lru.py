"""What a real-gated linear recurrent unit has beside its parameters (Griffin, arXiv 2402.19427)."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.causal_conv import ConvolvedMixer
from nemo_automodel.components.models.common.gated_scan import BEGINS, GOES_ON, IS_PADDING, RESTARTS, form
from nemo_automodel.components.models.common.releases import recurrent_state, update_recurrent_state


class RgLru(ConvolvedMixer):
    """B batch, S positions, W width of the recurrence, N blocks of the gates.

    The state h [B, W] is in fp32. A text's first token finds no state, and is not scaled: it is known by position 0, or
    by the padding before it.
    """

    has_one_order = False

    def __init__(self, config, layer_idx, backend, *, width, heads, activation):
        super().__init__(config, layer_idx, backend)
        self.width, self.heads = width, heads
        self.activation = ACT[activation]
        self.scan = form(backend.scan)

    def gate_weight(self):
        """Of a gate: [N, W / N, W / N]."""
        size = self.width // self.heads
        return nn.Parameter(torch.empty(self.heads, size, size))

    def gate_bias(self):
        """Of a gate: [N, W / N]."""
        return nn.Parameter(torch.empty(self.heads, self.width // self.heads))

    def start_projections(self, y, x, conv, out):
        """Values before training: variances by what is read, smaller where many layers add up."""
        for linear in (y, x):
            init.normal_(linear.weight, std=linear.in_features**-0.5)
        init.normal_(out.weight, std=math.sqrt(2 / self.config.num_hidden_layers / self.width))
        init.normal_(conv.weight, std=math.sqrt(self._variance / conv.kernel_size[0]))
        for module in (y, x, conv, out):
            init.zeros_(module.bias)

    def start_gate(self, weight, bias):
        init.normal_(weight, std=math.sqrt(self._variance / weight.shape[-1]))
        init.zeros_(bias)

    def start_decay(self, parameter):
        """Decays whose squares lie evenly between 0.81 and 0.998 where the gate is open."""
        init.uniform_(parameter, 0.9**2, 0.999**2)
        init.copy_(parameter, torch.log(torch.expm1(-0.5 * parameter.log())))

    @property
    def _variance(self):
        return getattr(self.config, "w_init_variance_scale", 0.01)

    def recurred(self, x, *given, mask, cache, position_ids=None, **kwargs):
        """x [B, S, W], after it the parameters of gates and decay, as `gated_scan` has them -> h [B, S, W], as x."""
        *gates, parameter = given
        state = None if cache is None else recurrent_state(cache, self.layer_idx)
        h, after = self.scan(x, gates, parameter, state, self._places(x, mask, state, position_ids))
        if cache is not None:
            update_recurrent_state(cache, after, self.layer_idx)
        return h.to(x.dtype)

    def _places(self, x, mask, state, position_ids):
        """What each token is, [1 or B, S]; None: all go on, as after a state all do but what only padding precedes."""
        if mask is None and (state is not None or position_ids is None):
            return None
        places = x.new_zeros(1, x.shape[1], dtype=torch.int8)
        if mask is not None and mask.documents is not None:
            same = mask.documents[:, 1:] == mask.documents[:, :-1]
            places = F.pad(torch.where(same, GOES_ON, RESTARTS), (1, 0), value=GOES_ON)
        if state is None and position_ids is not None:
            places = torch.where(position_ids == 0, BEGINS, places)
        if mask is not None and mask.first is not None:
            places = torch.where(mask.first, BEGINS, torch.where(mask.text, places, IS_PADDING))
        return places
