"""Plans what is done with the last x of the text before the head, and with its logits behind it."""

import ast

from codegen.plan.equations import Rewriter, parse
from codegen.plan.output import number, replaced
from codegen.plan.types import Code
from codegen.plan.vision.asked import Asked

HEAD = "lm_head"


def plan_output(asked: Asked) -> tuple[Code | None, Code | None]:
    """What the head is given, as code over x, and what follows, over logits; None where it is that itself."""
    value = asked.loaded.spec.output[-1].value
    calls = (node for node in ast.walk(value) if isinstance(node, ast.Call))
    head = next(node for node in calls if ast.unparse(node.func) == HEAD)
    before, logits = _code(head.args[0]), _code(replaced(value, head, parse("logits")))
    return None if before == "x" else before, None if logits == "logits" else logits


def _code(tree: ast.expr) -> Code:
    return Rewriter(lambda name, arguments: None, number, {}).code(tree)
