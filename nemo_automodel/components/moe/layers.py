"""The mixture-of-experts layer, and the MLP of its shared experts."""

from functools import partial

import torch
from torch import nn

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.functional import clamped_glu
from nemo_automodel.components.models.common.linear import initialize_linear_module
from nemo_automodel.components.moe.experts import make_experts
from nemo_automodel.components.moe.router import make_router


class MLP(nn.Module):
    """down(activation(gate(x)) * up(x)), or without gate where `kind` is plain: [..., D] -> [..., D].

    glu: limit, alpha, up_offset of `clamped_glu`. dtype None: torch's default.
    """

    def __init__(
        self, dim, inter_dim, backend=None, *, kind="gated", activation="silu", bias=False, glu=None, dtype=None
    ):
        super().__init__()
        impl = getattr(backend, "linear", "torch")
        if kind == "gated":
            self.gate_proj = initialize_linear_module(impl, dim, inter_dim, bias, dtype=dtype)
        self.up_proj = initialize_linear_module(impl, dim, inter_dim, bias, dtype=dtype)
        self.down_proj = initialize_linear_module(impl, inter_dim, dim, bias, dtype=dtype)
        self.act_fn = ACT[activation]
        self.kind, self.glu = kind, glu or {}

    def forward(self, x):
        if self.kind == "plain":
            return self.down_proj(self.act_fn(self.up_proj(x)))
        return self.down_proj(clamped_glu(self.gate_proj(x), self.up_proj(x), self.act_fn, **self.glu))


class MoE(nn.Module):
    """Each token gets k of E experts, and the shared ones: [B, S, D] -> [B, S, D], called like a dense MLP.

    padding_mask [B, S], True (or not 0) at tokens: padding is not routed, and gets shared experts alone.
    """

    def __init__(self, config, backend=None):
        super().__init__()
        self.config = config
        self.gate = make_router(config, backend)
        self.experts = make_experts(config, backend)
        if config.moe_latent_size:
            impl = getattr(backend, "linear", "torch")
            self.fc1_latent_proj = initialize_linear_module(
                impl, config.dim, config.moe_latent_size, dtype=config.dtype
            )
            self.fc2_latent_proj = initialize_linear_module(
                impl, config.moe_latent_size, config.dim, dtype=config.dtype
            )
        if config.shared_width:
            self.shared_experts = self._shared(config, backend)
        if config.shared_width and config.shared_expert_gate:
            self.shared_expert_gate = nn.Linear(config.dim, 1, bias=False, dtype=config.dtype)
        self.dispatcher = None  # where experts are spread over processes: what exchanges tokens

    @staticmethod
    def _shared(config, backend):
        glu = {"limit": config.glu_limit, "alpha": config.glu_alpha, "up_offset": config.glu_up_offset}
        return MLP(
            config.dim,
            config.shared_width,
            backend,
            kind=config.shared_kind,
            activation=config.shared_activation or config.expert_activation,
            bias=config.shared_bias,
            glu=glu,
            dtype=config.dtype,
        )

    def forward(self, x, padding_mask=None):
        tokens = x.flatten(0, -2)
        _, weights, indices = self.gate(tokens, None if padding_mask is None else padding_mask.flatten().bool())
        y = self._routed(tokens, indices, weights).view_as(x)
        return self._with_shared(x, y) if self.config.shared_width else y

    def _routed(self, tokens, indices, weights):
        if self.config.moe_latent_size:
            tokens = self.fc1_latent_proj(tokens)
        experts = self.experts if self.dispatcher is None else partial(self.dispatcher, self.experts)
        y = experts(tokens, indices, weights)
        if self.config.moe_latent_size:
            y = self.fc2_latent_proj(y)
        return y if self.config.routed_scale == 1.0 else y * self.config.routed_scale

    def _with_shared(self, x, y):
        shared = self.shared_experts(x)
        if self.config.shared_expert_gate:
            shared = torch.sigmoid(self.shared_expert_gate(x)) * shared
        y = y + shared
        return y if self.config.shared_combine == "sum" else y / 2
