"""Channel mixers: dense MLPs and mixtures of experts."""

from collections.abc import Container, Mapping
from typing import Any, ClassVar

from codegen.language.attention import ACTIVATION, ACTIVATIONS, DTYPE, ROUNDING
from codegen.language.keys import Mixer, Section, choice, expr, mapping, section, text, when
from codegen.language.values import Expression


class Glu(Section):
    """A gated unit that is clamped, or wider than the model: act(alpha * gate) * (up + up_offset)."""

    limit: Expression | None = expr("Clamp of gate and up; none: absent.", "None")
    alpha: Expression | None = expr("Factor inside the sigmoid of x * sigmoid(alpha * x).", "None")
    up_offset: Expression | None = expr("Number added to up.", "0")
    dtype: str | None = choice(f"Dtype of activation and product ({DTYPE}).", "model", "float32")


class Gated(Mixer):
    """down(act(gate(x)) * up(x))."""

    words: ClassVar[str] = "gated MLP"

    width: Expression | None = expr("Inner width.", "config.intermediate_size")
    activation: Expression | None = expr("Name of the activation.", *ACTIVATION, words=ACTIVATIONS)
    bias: Mapping[str, Expression] | None = mapping(
        "Flag, or a flag per role.", words=("gate", "up", "down"), chain=("config.mlp_bias", "False"), bare="*"
    )
    bias_rounding: str | None = choice(ROUNDING, "once", "apart")
    inner_norm: str | None = text("Name of a norm before the down projection.")
    glu: Glu | None = section("Clamped or wider gated unit.", Glu)
    multipliers: Mapping[str, Expression] | None = mapping("Factors on the projections.", words=("gate", "up", "down"))

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own, where gate and up may lie in one tensor."""
        return (*(role for role in ("gate", "up") if role not in fused), "down")

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return set(parts) == {"gate", "up"}


class Plain(Gated):
    """down(act(up(x)))."""

    words: ClassVar[str] = "plain MLP"

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own; some activations learn parameters."""
        return "up", "down", "activation"

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return False


class Groups(Section):
    """Group-limited routing."""

    count: Expression | None = expr("Number of groups.")
    keep: Expression | None = expr("Groups that are kept.")
    score: str | None = choice("Score of a group.", "top2_sum", "max")
    masked: Any = choice("Value of experts outside.", "-inf", 0.0)
    when: Expression | None = when()


class Renormalize(Section):
    """Division of the chosen weights by their sum."""

    when: Expression | None = when()
    eps: Expression | None = expr("Added to the sum.", "0.0")
    min: Expression | None = expr("Lower bound of the sum.")
    norm: Expression | None = expr("Order of the norm instead of the sum.")


class Router(Section):
    """Which experts a token goes to, and with which weight."""

    score: str | None = choice("Scores from logits.", "softmax", "sigmoid")
    order: str | None = choice("Score all, or only the winners.", "score_first", "topk_first", "sparsemixer")
    jitter: Expression | None = expr("Tolerance of sparsemixer.")
    bias: Expression | None = expr("Bias of the linear map.", "False")
    softcap: Expression | None = expr("Tanh cap on the logits.", "None")
    correction_bias: Expression | None = expr(
        "A bias for the choice only, added to what it is made by: scores, or logits with topk_first.", "False"
    )
    scale: Expression | None = expr("Factor on the weights.", "1.0")
    dtype: str | None = choice(f"Dtype of matmul and score ({DTYPE}).", "score", "float32", "model")
    weights_dtype: str | None = choice(f"Dtype of the weights ({DTYPE}).", "model", "float32")
    aux_loss: Expression | None = expr(
        "Weight of the load-balancing loss; none: there is no such loss, whatever the config declares.",
        "config.router_aux_loss_coef",
        "config.ffn_config.moe_loss_weight",
        "None",
    )
    groups: Groups | None = section("Group limits.", Groups)
    renormalize: Renormalize | None = section("Renormalisation.", Renormalize, bare="when")


class Experts(Gated):
    """The routed experts."""

    kind: str | None = choice("Shape of an expert.", "gated", "plain")
    count: Expression | None = expr(
        "Number of experts.",
        "config.num_experts",
        "config.num_local_experts",
        "config.n_routed_experts",
        "config.moe_num_experts",
    )
    top_k: Expression | None = expr("Experts of a token.", "config.num_experts_per_tok", "config.moe_topk")
    width: Expression | None = expr("Inner width.", "config.moe_intermediate_size", "config.intermediate_size")
    bias_rounding: str | None = choice(ROUNDING, "once", "apart", ready=False)
    inner_norm: str | None = text("Name of a norm before the down projection.", ready=False)
    multipliers: Mapping[str, Expression] | None = mapping(
        "Factors on the projections.", words=("gate", "up", "down"), ready=False
    )
    weight_at: str | None = choice("Where the weight multiplies.", "output", "input")
    sum: str | None = choice(
        "How a token's experts are added up, which rounds differently; float32: in order, and rounded once.",
        "in_order",
        "at_once",
        "float32",
    )


class Shared(Gated):
    """Experts that every token visits."""

    kind: str | None = choice("Shape.", "gated", "plain")
    bias_rounding: str | None = choice(ROUNDING, "once", "apart", ready=False)
    inner_norm: str | None = text("Name of a norm before the down projection.", ready=False)
    glu: Glu | None = section("Clamped or wider gated unit, where it is not the routed experts'.", Glu, ready=False)
    multipliers: Mapping[str, Expression] | None = mapping(
        "Factors on the projections.", words=("gate", "up", "down"), ready=False
    )
    gate: str | None = choice("Gate on the output.", "none", "sigmoid")
    combine: str | None = choice("How routed and shared join.", "sum", "mean")
    when: Expression | None = when()


class Moe(Mixer):
    """Mixture of experts."""

    words: ClassVar[str] = "mixture of experts"

    activation: Expression | None = expr("Activation of routed and shared experts.", *ACTIVATION, words=ACTIVATIONS)
    glu: Glu | None = section("Clamped or wider gated unit.", Glu)
    scale: Expression | None = expr("Factor on the routed sum.", "1.0")
    latent: Expression | None = expr("Width of a projection around the experts.", "None")
    latent_bias: Expression | None = expr("Bias of the two projections around the experts.", "false")
    router: Router | None = section("The router.", Router)
    experts: Experts | None = section("The routed experts.", Experts)
    shared: Shared | None = section("The shared experts.", Shared)

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own."""
        router, shared, latent = self.router, self.shared is not None, self.latent is not None
        found = {
            "router": True,
            "experts": True,
            "correction_bias": router is not None and router.correction_bias is not None,
            "shared": shared,
            "shared_gate": shared and self.shared is not None and self.shared.gate == "sigmoid",
            "latent_in": latent,
            "latent_out": latent,
        }
        return tuple(role for role, has in found.items() if has)
