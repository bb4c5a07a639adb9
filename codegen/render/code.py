"""Code of a plan as syntax nodes."""

import libcst as cst

from codegen.cst.holes import OMIT, Hole, expression, statement
from codegen.plan.types import Assign, GatePlan


def code(text: str | None) -> Hole:
    """The expression, or nothing."""
    return OMIT if text is None else expression(text)


def unless_true(text: str) -> Hole:
    """The flag of an `nn.Linear`, which has a bias unless told otherwise."""
    return OMIT if text == "True" else expression(text)


def assigns(items: tuple[Assign, ...]) -> list[cst.BaseStatement]:
    return [statement(f"self.{item.name} = {item.code}", item.why) for item in items]


def flags(items: tuple[Assign, ...]) -> list[cst.BaseStatement]:
    return [statement(f"{item.name} = {item.code}", item.why) for item in items]


def gate_exprs(gate: GatePlan | None) -> dict[str, Hole]:
    """The expressions of a gate on the heads' output."""
    head_bias = f"self.{gate.head_bias}" if gate is not None and gate.head_bias is not None else None
    return {
        "gate_width": code(gate.width if gate else None),
        "gate_heads": code(gate.heads if gate else None),
        "gate_bias": unless_true(gate.bias if gate else "False"),
        "gate_head_bias": code(head_bias),
        "gate_activation": code(gate.activation if gate else None),
    }


def gate_roles(gate: GatePlan | None) -> dict[str, str]:
    """The names of its tensors."""
    if gate is None:
        return {}
    return {"out_gate": gate.name, **({"out_gate_bias": gate.head_bias} if gate.head_bias is not None else {})}
