"""What a mixture-of-experts layer is made of."""

from dataclasses import dataclass

import torch

CHOICES = {
    "group_score": ("top2_sum", "max"),
    "gate_dtype": ("score", "float32", "model"),
    "weights_dtype": ("model", "float32"),
    "expert_kind": ("gated", "plain"),
    "shared_kind": ("gated", "plain"),
    "weight_at": ("output", "input"),
    "expert_sum": ("in_order", "at_once", "float32"),
    "shared_combine": ("sum", "mean", "average"),
}


@dataclass(frozen=True)
class MoEConfig:
    """One layer: a router, E routed experts of which each token gets k, and shared experts that every token gets.

    Raises ValueError for a value that does not exist, or numbers that cannot be.
    """

    dim: int
    """Hidden size D of the layer's input and output."""
    moe_inter_dim: int
    """Width I of one routed expert."""
    n_routed_experts: int
    """E."""
    n_activated_experts: int
    """k: how many experts a token gets."""
    inter_dim: int | None = None
    """Width of the dense MLPs of the same model; no part of the layer reads it."""

    n_expert_groups: int = 1
    """Groups of consecutive experts; 0 or 1: none (DeepSeek-V2 and V3: `n_group`)."""
    n_limited_groups: int = 1
    """How many groups a token may choose from (`topk_group`)."""
    group_score: str = "top2_sum"
    """How good a group is: the sum of its two best scores (V3), or its best (`max`, V2)."""
    group_masked: float | str = "-inf"
    """The score of an expert outside of the chosen groups, as float() reads it; 0.0 beats negative ones (Mistral 4)."""

    score_func: str = "softmax"
    """A name of `router.ROUTERS`."""
    softmax_before_topk: bool = True
    """Score all experts, then choose; False: choose by logits, then score the chosen (gpt-oss, Granite)."""
    router_jitter: float = 0.0
    """How far below the best, relatively, `sparsemixer` still looks."""
    router_bias: bool = False
    """Whether the router's projection has a bias."""
    router_softcap: float | None = None
    """Bound of the logits, by tanh."""
    correction_bias: bool = False
    """Whether a bias (in no optimiser) is added for the choice alone, to what it is made by; weights stay raw."""
    correction_bias_pinned: bool = True
    """Whether that bias is fp32 whatever the model is; MiniMax-M2's is not."""
    norm_topk_prob: bool = False
    """Whether the chosen weights are divided by their sum."""
    norm_topk_eps: float = 0.0
    """Added to that sum."""
    norm_topk_min: float | None = None
    """Lower bound of that sum (ERNIE)."""
    norm_topk_order: float | None = None
    """Divide by the norm of this order instead of by the sum (DBRX)."""
    route_scale: float = 1.0
    """Factor of the weights, after that."""
    gate_dtype: str = "score"
    """`score`: project in the model's dtype, score in fp32; `float32`: project in fp32; `model`: all in its dtype."""
    gate_pinned: bool = False
    """Whether the projection's weight is fp32 whatever the model is (ERNIE, HunYuan)."""
    weights_dtype: str = "model"
    """dtype of the weights that experts get: `model`, or `float32` (as they were computed)."""

    expert_kind: str = "gated"
    """`gated`: down(act(gate x) * up x); `plain`: down(act(up x))."""
    expert_bias: bool = False
    """Whether the experts' projections have biases."""
    expert_blocks: int = 1
    """In how many equal blocks of gate and up what gated experts compute lies; I: interleaved (gpt-oss)."""
    expert_order: tuple = ("gate", "up")
    """What comes first in a block."""
    expert_activation: str = "silu"
    """A name of `common.activations.ACT`."""
    glu_limit: float | None = None
    """Cuts gate from above and up on both sides (gpt-oss)."""
    glu_alpha: float | None = None
    """Replaces the activation by x * sigmoid(alpha * x)."""
    glu_up_offset: float = 0
    """Added to up."""
    glu_dtype: str = "model"
    """In which dtype activation and product are: `float32`, or the model's."""
    weight_at: str = "output"
    """Where an expert's weight acts: on its output, or on its `input` (Llama 4)."""
    expert_sum: str = "in_order"
    """How the specification adds a token's experts: one after the other in the model's dtype, `at_once` (Aria), or in
    `float32` and rounded once (Nemotron 3)."""
    routed_scale: float = 1.0
    """Factor of the routed sum, before the shared experts are added."""
    moe_latent_size: int | None = None
    """Width of a projection around the routed experts (Nemotron-H); None: none."""
    moe_latent_bias: bool = False
    """Whether that projection and the one behind the experts have a bias."""

    n_shared_experts: int = 0
    """How many shared experts; they act as one MLP. With `shared_expert_inter_dim` any number but 0 says no more."""
    shared_expert_inter_dim: int | None = None
    """Its width; None: n_shared_experts * moe_inter_dim."""
    shared_kind: str = "gated"
    """Like `expert_kind`."""
    shared_bias: bool = False
    """Whether its projections have biases."""
    shared_activation: str | None = None
    """None: the routed experts'."""
    shared_expert_gate: bool = False
    """Whether a sigmoid gate [D -> 1] weighs the shared experts (Qwen2-MoE)."""
    shared_combine: str = "sum"
    """How routed and shared outputs join: `sum`, or `mean` alias `average` (Cohere2-MoE)."""

    train_gate: bool = True
    """Whether the router's projection is trained."""
    gate_bias_update_factor: float = 0.0
    """Step of the correction bias per update (DeepSeek-V3, arXiv 2412.19437, section 2.1.2: 0.001)."""
    aux_loss_coeff: float | None = None
    """Factor of the load-balancing loss where router logits are asked for; None: there is no such loss."""
    dtype: torch.dtype | None = None
    """Of parameters; None: torch's default, which transformers' loader sets (another survives loading)."""

    def __post_init__(self):
        for field, known in CHOICES.items():
            value = getattr(self, field)
            if value not in known:
                raise ValueError(f"MoEConfig.{field}: {value!r} is not one of {', '.join(known)}")
        for field in ("gate_bias_update_factor", "aux_loss_coeff"):
            if not (getattr(self, field) or 0) >= 0:
                raise ValueError(
                    f"MoEConfig.{field}: {getattr(self, field)} would unbalance the experts; give 0 or more"
                )
        if not 1 <= self.n_activated_experts <= self.n_routed_experts:
            raise ValueError(
                f"MoEConfig.n_activated_experts: a token cannot get {self.n_activated_experts} of "
                f"{self.n_routed_experts} experts"
            )
        if self.grouped and self.n_routed_experts % self.n_expert_groups:
            raise ValueError(
                f"MoEConfig.n_expert_groups: {self.n_routed_experts} experts do not split into {self.n_expert_groups}"
            )

    @property
    def grouped(self):
        """Whether the choice is limited to some groups of experts."""
        return self.n_expert_groups > 1

    @property
    def glu(self):
        """Keywords of `clamped_glu`."""
        return {
            "limit": self.glu_limit,
            "alpha": self.glu_alpha,
            "up_offset": self.glu_up_offset,
            "dtype": self.glu_dtype,
        }

    @property
    def shared_width(self):
        """Width of the shared MLP; 0: there is none."""
        if self.shared_expert_inter_dim is not None:
            return self.shared_expert_inter_dim
        return self.n_shared_experts * self.moe_inter_dim

    @property
    def expert_dim(self):
        """Width of what routed experts read and write."""
        return self.moe_latent_size or self.dim
