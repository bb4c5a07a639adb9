"""What drops of what attention and MLP add to the stream."""

import ast
from copy import deepcopy

from codegen.language.mlp import Moe
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.equations import parse
from codegen.plan.mixers.projections import OWN
from codegen.plan.scope import ATTENTION
from codegen.plan.types import Assign

SUM = "sum of attention and mlp"  # no name that an equation can say
KEYS = {"dropout": "residual", "mlp_dropout": "mlp"}


def around_sums(tree: ast.expr) -> ast.expr:
    """The right side of an equation, where a call of SUM stands around what attention and MLP add as one."""
    return _Sums().visit(deepcopy(tree))


class _Sums(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        if isinstance(node.op, ast.Add) and _is_sum(node.right):
            return ast.BinOp(node.left, node.op, ast.Call(ast.Name(SUM), [node.right], []))
        self.generic_visit(node)
        return node


def _is_sum(tree: ast.expr) -> bool:
    """Whether it is a sum in parentheses, behind what it is added to, of attention and MLP."""
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add) and called >= set(OWN)


def dropped(spec: Spec, name: str) -> str | None:
    """The module that drops of what a call gives: of attention, of the MLP, or of SUM; None: nothing does."""
    joined = any(_has_sum(equation.value) for equation in spec.block)
    if name not in (*OWN, SUM) or joined != (name == SUM):
        return None
    own = name == "mlp" and spec.dropout.mlp is not None and not spec.dropout.mlp.is_none
    probability = spec.dropout.mlp if own else spec.dropout.residual
    if probability is None or probability.constant == 0.0:
        return None
    return "mlp_dropout" if own else "dropout"


def _has_sum(tree: ast.expr) -> bool:
    adding = (node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add))
    return any(_is_sum(node.right) for node in adding)


def around(spec: Spec, name: str, made: str) -> ast.expr:
    """What a call gives, and what drops of it."""
    module = dropped(spec, name)
    return parse(f"self.{module}({made})" if module else made)


def modules(context: Context, names: list[str]) -> list[Assign]:
    """The modules that drop, one for each probability. Raises SpecError where experts' activations drop, or a share of
    the MLP that is added with attention as one."""
    spec = context.base
    if spec.dropout.activation is not None and isinstance(spec.mlp, Moe):
        raise context.unready("it has a template for dense MLPs alone", "dropout.activation")
    mlp = spec.dropout.mlp
    if mlp is not None and not mlp.is_none and any(_has_sum(equation.value) for equation in spec.block):
        message, cure = "attention and mlp are added as one sum, of which `residual` drops", "write mlp: none"
        raise context.unready(message, "dropout.mlp", cure)
    made = dict.fromkeys(filter(None, (dropped(spec, name) for name in (*names, SUM))))
    codes = {one: context.code(lambda s, one=one: context.value(s.dropout, KEYS[one]), ATTENTION) for one in made}
    return [Assign(one, f"nn.Dropout({code})") for one, code in codes.items()]
