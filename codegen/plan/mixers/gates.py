"""The gate on the heads' output, of either attention."""

from collections.abc import Iterator
from typing import NamedTuple

from codegen.language import attention
from codegen.language.spec import Spec
from codegen.language.values import Expression, expression
from codegen.members import member
from codegen.plan.context import Context
from codegen.plan.mixers.asked import Tensors
from codegen.plan.mixers.softmax import softmax
from codegen.plan.names import attribute
from codegen.plan.scope import ATTENTION
from codegen.plan.types import Code, unless_true

ROLES = ("out_gate", "out_gate_bias")
FALSE = expression("False")


class Gate(NamedTuple):
    """A projection of its own, or rows beside those of the queries."""

    in_q: bool
    name: str
    width: Code
    heads: Code
    bias: Code
    head_bias: str | None  # the parameter that is one number a head
    activation: Code | None  # None: sigmoid


def signature(spec: Spec, part: str) -> tuple[object, ...] | None:
    """What makes two layers need two classes."""
    gate = softmax(spec, part).gate
    return gate and (gate.activation, gate.per, gate.has_head_bias)


def describe(context: Context, part: str, heads: Code, width: Code, in_q: bool = False) -> Gate | None:
    """The gate, which is `width` wide; `in_q`: its rows lie beside those of the queries."""
    spec = context.base
    gate = softmax(spec, part).gate
    if gate is None:
        return None
    return Gate(
        in_q=in_q,
        name=attribute(spec, "out_gate", part),
        width=heads if context.word(gate, "per") == "head" else width,
        heads=heads,
        bias=context.code(lambda s: _bias(context, s, part), ATTENTION),
        head_bias=attribute(spec, "out_gate_bias", part) if gate.has_head_bias else None,
        activation=None if context.word(gate, "activation") == "sigmoid" else str(gate.activation),
    )


def _bias(context: Context, spec: Spec, part: str) -> Expression:
    """Whether the gate's projection has a bias."""
    gate = softmax(spec, part).gate
    assert gate is not None
    return FALSE if gate.has_head_bias else context.value(gate, "bias")


def choices(gate: Gate | None) -> dict[str, bool]:
    """What a template has of it."""
    return {
        "gate": gate is not None and not gate.in_q,
        "gate_in_q": gate is not None and gate.in_q,
        "gate_head_bias": gate is not None and gate.head_bias is not None,
    }


def codes(gate: Gate | None) -> dict[str, Code | None]:
    """The expressions of a template."""
    return {
        "gate_width": gate.width if gate else None,
        "gate_heads": gate.heads if gate else None,
        "gate_bias": unless_true(gate.bias if gate else "False"),
        "gate_head_bias": member(gate.head_bias) if gate and gate.head_bias else None,
        "gate_activation": gate.activation if gate else None,
    }


def names_in_memory(gate: Gate | None) -> dict[str, str]:
    """The attributes of its tensors."""
    if gate is None:
        return {}
    return {"out_gate": gate.name, **({"out_gate_bias": gate.head_bias} if gate.head_bias is not None else {})}


def whys(gate: attention.Gate | None, made: Gate | None) -> dict[str, str | None]:
    """The spec's reason, at the gate's projection; at the last one where its rows lie beside those of the queries."""
    return {} if gate is None or made is None else {"out" if made.in_q else "out_gate": gate.why}


def tensors(tensors: Tensors, gate: attention.Gate | None, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    if gate is not None and not tensors.is_fused(part, "out_gate"):
        yield f"{tensors.at(before, 'out_gate', part)}.weight"
    if gate is not None and gate.has_head_bias:
        yield tensors.at(before, "out_gate_bias", part)
