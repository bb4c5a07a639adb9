"""What lies between the two products of an expert, weighed by its token's weight; and its gradients."""

import torch

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.models.common.glu import Lies, glu


class Activation:
    """Rows [S, 2I] -> [S, I] (gate, then up, or in blocks of both); [S, I] -> [S, I] where experts are plain."""

    def __init__(self, config, act_fn, by="torch"):
        self.config, self.act_fn, self.by = config, act_fn, by

    def __call__(self, h):
        config = self.config
        if config.expert_kind == "plain":
            return self.act_fn(h)
        lies = Lies(h.shape[-1] // (2 * config.expert_blocks), config.expert_order == ("gate", "up"))
        return glu(self.by, h, None, self.act_fn, lies=lies, **config.glu)

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
    return simd.swiglu(h, factors) if fused else (activate(h) * factors).to(h.dtype)


def weigh_backward(activate, h, factors, grad, fused):
    """(what `weigh` gives, gradients by h and by factors)."""
    if fused:
        return simd.swiglu_backward(h, factors, grad)
    with torch.enable_grad():
        h, factors = h.detach().requires_grad_(), factors.detach().requires_grad_()
        hidden = weigh(activate, h, factors, fused)
    return hidden.detach(), *torch.autograd.grad(hidden, (h, factors), grad)
