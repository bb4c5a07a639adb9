"""Code of a plan as syntax nodes."""

import libcst as cst

from codegen.cst.holes import OMIT, Hole, expression, statement
from codegen.members import assigned
from codegen.plan.types import Assign


def code(text: str | None) -> Hole:
    """The expression, or nothing."""
    return OMIT if text is None else expression(text)


def assigns(items: tuple[Assign, ...]) -> list[cst.BaseStatement]:
    return [statement(assigned(item.name, item.code), item.why) for item in items]


def flags(items: tuple[Assign, ...]) -> list[cst.BaseStatement]:
    return [statement(f"{item.name} = {item.code}", item.why) for item in items]
