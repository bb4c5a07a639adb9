"""`state_dict_adapter.py`: the weight rules as a table."""

from codegen.cst.fill import template
from codegen.cst.format import Format
from codegen.cst.holes import Holes, comment_lines, docstring, expression
from codegen.plan.types import ModelPlan
from codegen.render.code import module


def render_adapter(plan: ModelPlan, format_all: Format) -> str:
    """The text of `state_dict_adapter.py`, without its header."""
    source = template("state_dict_adapter")
    if plan.default_rules:
        name, exprs = "TemplateDefaultStateDictAdapter", {}
    elif plan.rules:
        name, exprs = "TemplateStateDictAdapter", {"rules": expression(f"({', '.join(plan.rules)},)")}
    else:
        name, exprs = "TemplatePlainStateDictAdapter", {}
    holes = Holes(names={name: f"{plan.prefix}StateDictAdapter"}, exprs=exprs)
    doc = docstring(f"How {plan.title} checkpoints lie in memory.")
    made = source.fill(name, holes)
    if plan.rules_why:
        made = made.with_changes(leading_lines=comment_lines(plan.rules_why))
    return module(plan.places, doc, source.imports, [], [made], format_all)
