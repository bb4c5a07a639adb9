"""What a real-gated linear recurrent unit has beside its parameters (Griffin, arXiv 2402.19427)."""

import math

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers import initialization as init

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.causal_conv import ConvolvedMixer
from nemo_automodel.components.models.common.linear_scan import form
from nemo_automodel.components.models.common.releases import recurrent_state, update_recurrent_state

STEEPEST = 1000.0  # the largest derivative of the square root on the way back
SHARPNESS = 8.0  # of the decay: c in the paper


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

    def gated(self, x, weight, bias):
        """x [B, S, W] -> a gate before its sigmoid [B, S, W]; each block reads itself alone."""
        blocks = x.reshape(-1, *bias.shape).transpose(0, 1)  # [N, B * S, W / N]
        return torch.baddbmm(bias[:, None], blocks, weight).transpose(0, 1).reshape(x.shape)

    def recurred(self, x, gate, rate, parameter, mask, cache, position_ids=None, **kwargs):
        """x and raw gates [B, S, W], parameter [W] -> h [B, S, W] in the dtype of x."""
        wide = torch.promote_types(x.dtype, torch.float32)
        documents, text = (None, None) if mask is None else (mask.documents, mask.text)
        state = None if cache is None else recurrent_state(cache, self.layer_idx)
        first = self._first(x, mask, state, position_ids)
        decay = -SHARPNESS * rate.to(wide).sigmoid() * F.softplus(parameter.to(wide))
        scale = torch.where(first, 1.0, SteepRoot.apply(-torch.expm1(2 * decay)))
        added = x.to(wide) * gate.to(wide).sigmoid() * scale
        h, state = self.scan(decay.exp().masked_fill(first, 0), added, state, documents, text)
        if cache is not None:
            update_recurrent_state(cache, state, self.layer_idx)
        return h.to(x.dtype)

    def _first(self, x, mask, state, position_ids):
        """[1 or B, S, 1]: whether a text begins there. What a state precedes goes on, unless that was padding."""
        first = x.new_zeros(x.shape[:2], dtype=torch.bool)
        if state is None and position_ids is not None:
            first = position_ids == 0
        if mask is not None and mask.first is not None:
            first = first & mask.text | mask.first
        return first[..., None]


class SteepRoot(torch.autograd.Function):
    """The square root of x, any shape and float dtype, with a derivative of at most STEEPEST."""

    @staticmethod
    def forward(ctx, x):
        root = x.sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (root,) = ctx.saved_tensors
        return grad / (2 * root).clamp(min=1 / STEEPEST)
