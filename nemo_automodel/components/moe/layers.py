"""The mixture-of-experts layer, and the MLP of its shared experts."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.forgetting import products
from nemo_automodel.components.models.common.glu import glu
from nemo_automodel.components.models.common.linear import initialize_linear_module
from nemo_automodel.components.models.common.nested import follow, place
from nemo_automodel.components.models.common.pinned import keeping, names_of
from nemo_automodel.components.moe.experts import GroupedExperts, make_experts
from nemo_automodel.components.moe.router import make_router


class MLP(nn.Module):
    """down(activation(gate(x)) * up(x)), or without gate where `kind` is plain: [..., D] -> [..., D].

    glu: limit, alpha, up_offset, dtype of `clamped_glu`. dtype None: torch's default. names: of gate, up and down.
    """

    def __init__(
        self,
        dim,
        inter_dim,
        backend=None,
        *,
        kind="gated",
        activation="silu",
        bias=False,
        glu=None,
        dtype=None,
        names=("gate_proj", "up_proj", "down_proj"),
    ):
        super().__init__()
        linear = partial(initialize_linear_module, getattr(backend, "linear", "torch"), bias=bias, dtype=dtype)
        self._names = gate, up, down = tuple(names)
        if kind == "gated":
            place(self, gate, linear(dim, inter_dim))
        place(self, up, linear(dim, inter_dim))
        place(self, down, linear(inter_dim, dim))
        self.act_fn = ACT[activation]
        self.kind, self.glu, self._by = kind, glu or {}, getattr(backend, "glu", "torch")

    def forward(self, x):
        *inner, down = self._names if self.kind == "gated" else self._names[1:]
        *gate, up = products(x, *(follow(self, name) for name in inner))
        h = glu(self._by, *gate, up, self.act_fn, **self.glu) if gate else self.act_fn(up)
        return follow(self, down)(h)


@dataclass(frozen=True)
class MoENames:
    """What the parts of a mixture are called, as in transformers' own class: adapters and plans address them so.

    router: a module, or the linear layer within it (`gate.wg`). experts: their module. mlp: gate, up and down of the
    shared experts. correction_bias: where it lies; in `correction_rows` rows, 0 for a vector.
    """

    router: str = "gate"
    experts: str = "experts"
    shared: str = "shared_experts"
    shared_gate: str = "shared_expert_gate"
    latent_in: str = "fc1_latent_proj"
    latent_out: str = "fc2_latent_proj"
    mlp: tuple = ("gate_proj", "up_proj", "down_proj")
    correction_bias: str = "gate.e_score_correction_bias"
    correction_rows: int = 0


class MoE(nn.Module):
    """Each token gets k of E experts, and the shared ones: [B, S, D] -> [B, S, D], called like a dense MLP.

    names: keywords of MoENames. storage: how the experts' weights lie, a class of `experts.py`.
    padding_mask [B, S], True (or not 0) at tokens: padding is not routed, and gets shared experts alone.
    """

    def __init__(self, config, backend=None, *, storage=GroupedExperts, **names):
        super().__init__()
        self.config, self.names = config, MoENames(**names)
        self._inner = self._place_router(backend), make_experts(config, backend, storage)
        place(self, self.names.experts, self.routed_experts)
        if config.moe_latent_size:
            kind, bias = getattr(backend, "linear", "torch"), config.moe_latent_bias
            linear = partial(initialize_linear_module, kind, bias=bias, dtype=config.dtype)
            place(self, self.names.latent_in, linear(config.dim, config.moe_latent_size))
            place(self, self.names.latent_out, linear(config.moe_latent_size, config.dim))
        if config.shared_width:
            place(self, self.names.shared, self._shared(config, backend))
        if config.shared_width and config.shared_expert_gate:
            place(self, self.names.shared_gate, nn.Linear(config.dim, 1, bias=False, dtype=config.dtype))
        self.dispatcher = None  # where experts are spread over processes: what exchanges tokens

    def _place_router(self, backend):
        names = self.names
        self._router, _, projection = names.router.rpartition(".") if "." in names.router else (names.router, "", None)
        router = make_router(self.config, backend, projection)
        place(self, self._router, router)
        if self.config.correction_bias:
            within = names.correction_bias.startswith(f"{self._router}.")
            path = names.correction_bias.removeprefix(f"{self._router}.") if within else names.correction_bias
            router.hold_correction_bias(router if within else self, path, names.correction_rows)
        return router

    def _shared(self, config, backend):
        return MLP(
            config.dim,
            config.shared_width,
            backend,
            kind=config.shared_kind,
            activation=config.shared_activation or config.expert_activation,
            bias=config.shared_bias,
            glu=config.glu,
            dtype=config.dtype,
            names=self.names.mlp,
        )

    def initialize(self, std):
        """A correction bias that lies beside the router starts with it: the router may have been loaded without."""
        self.token_router.start_correction_bias()

    @property
    def token_router(self):
        """The router itself, whatever an adapter has wrapped it in."""
        return self._inner[0]

    @property
    def routed_experts(self):
        """The routed experts themselves."""
        return self._inner[1]

    def pinned_names(self):
        """Names of the tensors that are fp32 whatever the model is."""
        return names_of(self, self.token_router.pinned())

    def _apply(self, fn, recurse=True):
        return super()._apply(keeping(fn, self.token_router.pinned()), recurse)

    def forward(self, x, padding_mask=None):
        tokens = x.flatten(0, -2)
        router = follow(self, self._router)
        _, weights, indices = router(tokens, None if padding_mask is None else padding_mask.flatten().bool())
        y = self._routed(tokens, indices, weights).view_as(x)
        return self._with_shared(x, y) if self.config.shared_width else y

    def _routed(self, tokens, indices, weights):
        if self.config.moe_latent_size:
            tokens = follow(self, self.names.latent_in)(tokens)
        experts = follow(self, self.names.experts)
        if self.dispatcher is not None:
            experts = partial(self.dispatcher, experts)
        y = experts(tokens, indices, weights)
        if self.config.moe_latent_size:
            y = follow(self, self.names.latent_out)(y)
        return y if self.config.routed_scale == 1.0 else y * self.config.routed_scale

    def _with_shared(self, x, y):
        shared = follow(self, self.names.shared)(x)
        if self.config.shared_expert_gate:
            (gate,) = products(x, follow(self, self.names.shared_gate))
            shared = torch.sigmoid(gate) * shared
        y = y + shared
        return y if self.config.shared_combine == "sum" else y / 2
