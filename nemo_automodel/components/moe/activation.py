"""What lies between the two products of an expert, weighed by its token's weight; and its gradients."""

import torch

from nemo_automodel.components.models.common import avx512
from nemo_automodel.components.models.common.functional import clamped_glu


class Activation:
    """Rows [S, 2I] -> [S, I] (gate, then up, or in blocks of both); [S, I] -> [S, I] where experts are plain."""

    def __init__(self, config, act_fn):
        self.config, self.act_fn = config, act_fn

    def __call__(self, h):
        config = self.config
        if config.expert_kind == "plain":
            return self.act_fn(h)
        gate, up = self._halves(h)
        return clamped_glu(gate, up, self.act_fn, **config.glu)

    def _halves(self, h):
        """Gate and up [S, I] out of the rows' equal blocks of both."""
        blocks = h.unflatten(-1, (self.config.expert_blocks, 2, -1))
        gate, up = (half.flatten(-2) for half in blocks.unbind(-2))
        return (gate, up) if self.config.expert_order == ("gate", "up") else (up, gate)

    @property
    def is_swiglu(self):
        """Whether it is silu(gate) * up, of halves that lie one after the other, and nothing else."""
        config = self.config
        if config.expert_blocks != 1 or config.expert_order != ("gate", "up"):
            return False
        is_plain = config.glu == {"limit": None, "alpha": None, "up_offset": 0, "dtype": "model"}
        return config.expert_kind == "gated" and config.expert_activation in ("silu", "swish") and is_plain


def weigh(activate, h, factors, fused):
    """activate(h) * factors, in the dtype of h: factors [S, 1]. `fused` is for SwiGLU alone, and rounds once."""
    return avx512.swiglu(h, factors) if fused else (activate(h) * factors).to(h.dtype)


def weigh_backward(activate, h, factors, grad, fused):
    """(what `weigh` gives, gradients by h and by factors)."""
    if fused:
        return avx512.swiglu_backward(h, factors, grad)
    with torch.enable_grad():
        h, factors = h.detach().requires_grad_(), factors.detach().requires_grad_()
        hidden = weigh(activate, h, factors, fused)
    return hidden.detach(), *torch.autograd.grad(hidden, (h, factors), grad)
