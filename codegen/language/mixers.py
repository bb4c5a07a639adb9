"""Token mixers other than attention."""

from collections.abc import Container, Mapping
from typing import ClassVar

from codegen.language.attention import ACTIVATION, ACTIVATIONS, HEAD_DIM, Norm
from codegen.language.keys import Mixer, choice, expr, mapping, section, text, when
from codegen.language.values import Expression

KERNEL = ("config.conv_kernel", "config.mamba_d_conv")


class GroupedNorm(Norm):
    """The norm of a recurrent mixer, over groups, with the gate before or after."""

    by_itself: ClassVar[bool] = True

    groups: Expression | None = expr("Number of groups.", "1")
    gate: str | None = choice("Where the gate multiplies.", "before", "after")
    when: Expression | None = when()


class Mamba2(Mixer):
    """State-space mixer with scalar decay per head (Mamba-2)."""

    words: ClassVar[str] = "state space mixer"

    heads: Expression | None = expr("Number of heads.")
    head_dim: Expression | None = expr("Width of a head.")
    groups: Expression | None = expr("Groups of B and C.")
    state: Expression | None = expr("Size of the state.")
    kernel: Expression | None = expr("Taps of the convolution.", *KERNEL)
    conv_bias: Expression | None = expr("Bias of the convolution.", "True")
    bias: Expression | None = expr("Bias of the projections.", "False")
    out_bias: Expression | None = expr("Bias of the output projection; default bias.")
    activation: Expression | None = expr("Activation of what is convolved.", *ACTIVATION, "silu", words=ACTIVATIONS)
    dt_limit: Expression | None = expr("Bounds of the time step.")
    norm: GroupedNorm | None = section("The gated norm.", GroupedNorm)
    multipliers: Mapping[str, Expression] | None = mapping("Factors.", words=("z", "x", "B", "C", "dt"))

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own: what the first projection gives lies in one tensor."""
        norm = () if self.norm is None else ("mixer_norm",)
        return "conv", "A_log", "D", "dt_bias", *norm, "out"

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return set(parts) == {"z", "x", "B", "C", "dt"}


class InnerNorms(Norm):
    """Norms of dt, B and C."""

    names: tuple[str, ...] | None = text("Names of the three norms.", many=True)


class Mamba1(Mixer):
    """Selective state-space mixer (Mamba)."""

    words: ClassVar[str] = "selective state space mixer"

    width: Expression | None = expr("Inner width.")
    state: Expression | None = expr("Size of the state.")
    dt_rank: Expression | None = expr("Rank of the time step.")
    kernel: Expression | None = expr("Taps of the convolution.", *KERNEL)
    conv_bias: Expression | None = expr("Bias of the convolution.", "True")
    bias: Expression | None = expr("Bias of the projections.", "False")
    activation: Expression | None = expr("Activation of what is convolved.", *ACTIVATION, "silu", words=ACTIVATIONS)
    inner_norms: InnerNorms | None = section("Norms of dt, B and C.", InnerNorms)

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own: two tensors hold x and z, and dt, B and C."""
        return "conv", "dt_proj", "A_log", "D", "out"

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return set(parts) in ({"x", "z"}, {"dt", "B", "C"})


class GatedDeltaNet(Mixer):
    """Gated delta rule (Gated DeltaNet, and KDA with decay: channel)."""

    words: ClassVar[str] = "gated delta net"

    key_heads: Expression | None = expr("Heads of queries and keys.")
    heads: Expression | None = expr("Heads of values.")
    key_dim: Expression | None = expr("Width of a key head.")
    value_dim: Expression | None = expr("Width of a value head.")
    kernel: Expression | None = expr("Taps of the convolutions.", "config.linear_conv_kernel_dim", "4")
    activation: Expression | None = expr(
        "Activation of the convolved q, k and v.", *ACTIVATION, "silu", words=ACTIVATIONS
    )
    decay: str | None = choice("Decay per head or per channel.", "head", "channel")
    decay_bound: Expression | None = expr(
        "Bound of the decay's logarithm: bound * sigmoid(exp(A_log) * (a + dt_bias)); none: softplus, without one.",
        "None",
    )
    beta: Expression | None = expr("Factor on beta.", "1.0")
    gate_activation: str | None = choice("Activation of the output gate.", "silu", "sigmoid")
    norm: GroupedNorm | None = section("The gated norm; by itself the gate is after it.", GroupedNorm)

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own, where some lie in one tensor with others."""
        found = "q", "k", "v", "z", "b", "a", "conv_q", "conv_k", "conv_v"
        return (*(role for role in found if role not in fused), "A_log", "dt_bias", "mixer_norm", "out")

    def pinnable(self) -> tuple[str, ...]:
        """Roles that may stay fp32 in a model of any dtype."""
        return "A_log", "dt_bias"

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return parts == ("conv_q", "conv_k", "conv_v") or set(parts) <= {"q", "k", "v", "z", "b", "a"}


class ShortConv(Mixer):
    """Gated short convolution (LFM2)."""

    words: ClassVar[str] = "short convolution"

    kernel: Expression | None = expr("Taps of the convolution.")
    bias: Expression | None = expr("Bias.", "False")

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own: B, C and x lie in one tensor."""
        return "conv", "out"

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return set(parts) == {"B", "C", "x"}


class Lightning(Mixer):
    """Lightning attention with exponential decay (MiniMax)."""

    words: ClassVar[str] = "lightning attention"

    heads: Expression | None = expr("Number of heads.", "config.num_attention_heads")
    head_dim: Expression | None = expr("Width of a head.", *HEAD_DIM)
    decay: Expression | None = expr("Decay of a layer.")
    norm: Norm | None = section("Norm of the output.", Norm)
    activation: Expression | None = expr("Activation of q, k, v.", *ACTIVATION, words=ACTIVATIONS)

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own, where some lie in one tensor with others."""
        return (*(role for role in ("q", "k", "v") if role not in fused), "mixer_norm", "out_gate", "out")

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles."""
        return set(parts) <= {"q", "k", "v"}


class RgLru(Mixer):
    """Real-gated linear recurrent unit (Griffin)."""

    words: ClassVar[str] = "linear recurrent unit"

    width: Expression | None = expr("Width of the recurrence.")
    heads: Expression | None = expr("Blocks of the gates.")
    kernel: Expression | None = expr("Taps of the convolution.", "config.conv1d_width", "4")
    activation: Expression | None = expr("Activation of the gate branch.", *ACTIVATION, words=ACTIVATIONS)

    def roles(self, fused: Container[str] = ()) -> tuple[str, ...]:
        """Roles that are stored under names of their own: all."""
        gates = ("input_gate_weight", "input_gate_bias", "recurrent_gate_weight", "recurrent_gate_bias")
        return "y", "x", "conv", *gates, "recurrent_param", "out"

    def fuses(self, parts: tuple[str, ...]) -> bool:
        """Whether one stored tensor may hold these roles: none holds two."""
        return False
