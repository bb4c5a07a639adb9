"""Plans the gate on the heads' output, of either attention."""

from codegen.language.attention import Gate
from codegen.language.spec import Spec
from codegen.language.values import Expression, expression
from codegen.plan.context import Context
from codegen.plan.mixers.softmax import softmax
from codegen.plan.names import attribute
from codegen.plan.scope import ATTENTION
from codegen.plan.types import Code, GatePlan

ROLES = ("out_gate", "out_gate_bias")
FALSE = expression("False")


def signature(spec: Spec) -> tuple[object, ...] | None:
    """What makes two layers need two classes."""
    gate = softmax(spec).gate
    return gate and (gate.activation, gate.per, gate.has_head_bias)


def plan_gate(context: Context, part: str, heads: Code, width: Code, in_q: bool = False) -> GatePlan | None:
    """The gate, which is `width` wide; `in_q`: its rows lie beside those of the queries."""
    spec = context.base
    gate = softmax(spec).gate
    if gate is None:
        return None
    return GatePlan(
        in_q=in_q,
        name=attribute(spec, "out_gate", part),
        width=heads if context.word(gate, "per") == "head" else width,
        heads=heads,
        bias=context.code(lambda s: _bias(context, s), ATTENTION),
        head_bias=attribute(spec, "out_gate_bias", part) if gate.has_head_bias else None,
        activation=None if context.word(gate, "activation") == "sigmoid" else str(gate.activation),
    )


def _bias(context: Context, spec: Spec) -> Expression:
    """Whether the gate's projection has a bias."""
    gate = softmax(spec).gate
    assert isinstance(gate, Gate)
    return FALSE if gate.has_head_bias else context.value(gate, "bias")
