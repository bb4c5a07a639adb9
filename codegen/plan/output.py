"""The output equation, cut in two: what the base model returns, and what the model with a head does with it."""

import ast
from copy import deepcopy
from functools import partial
from typing import cast

from codegen.language.spec import FUNCTIONS, Linear, NormPart, Spec
from codegen.language.values import Equation
from codegen.members import member
from codegen.plan.equations import Rewriter, called, is_number, parse
from codegen.plan.names import disk_name, in_base_model
from codegen.plan.scope import METHOD
from codegen.plan.types import Code


def head_call(spec: Spec) -> ast.Call:
    """The call of the head in the output equation."""
    name = disk_name(spec, "head")
    for node in ast.walk(spec.output[-1].value):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            return node
    raise AssertionError(f"output calls no {name}: the check refuses this")


def base_output(spec: Spec) -> ast.expr:
    """What the base model returns: the head's input without the parts beside it, functions and numbers around it."""
    node = head_call(spec).args[0]
    while (inner := _inside(spec, node)) is not None:
        node = inner
    return node


def finish_parts(spec: Spec) -> list[str]:
    """Parts and norms that the base model calls after its layers."""
    return _called(base_output(spec))


def top_parts(spec: Spec) -> list[str]:
    """Parts that the model with a head calls before the head."""
    return [name for name in _called(head_call(spec).args[0]) if is_top(spec, name)]


def finish_code(spec: Spec) -> Code:
    """What the base model does after its layers."""
    return Rewriter(partial(module_call, spec), number, {}).code(base_output(spec))


def before_head_code(spec: Spec) -> Code:
    """What is done with the base model's output x before the head; `x` where nothing is."""
    tree = replaced(head_call(spec).args[0], base_output(spec), parse("x"))
    return Rewriter(partial(module_call, spec), number, {}).code(tree)


def is_top(spec: Spec, name: str) -> bool:
    """Whether a part is stored beside the base model."""
    part = (spec.parts or {}).get(name)
    return isinstance(part, Linear | NormPart) and part.top is not None and part.top.constant is True


def replaced(tree: ast.expr, old: ast.expr, new: ast.expr) -> ast.expr:
    """The tree with `new` wherever `old` stands."""
    whole = ast.unparse(old)

    class _Cut(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if isinstance(node, ast.expr) and ast.unparse(node) == whole else self.generic_visit(node)

    return cast(ast.expr, _Cut().visit(deepcopy(tree)))


def module_call(spec: Spec, name: str, arguments: list[ast.expr]) -> ast.expr | None:
    """A call of the language as a call of a module of the model."""
    shown = ", ".join(ast.unparse(argument) for argument in arguments)
    return None if name in FUNCTIONS else parse(f"{member(path_in_model(spec, name))}({shown})")


def path_in_model(spec: Spec, name: str) -> str:
    """The path of something that `input` or `output` calls: below the base model, or beside it."""
    return name if is_top(spec, name) else in_base_model(spec, name)


def number(tree: ast.expr) -> ast.expr:
    return parse(METHOD.tree_code(tree))


def _inside(spec: Spec, node: ast.expr) -> ast.expr | None:
    """The tensor that a part beside the base model, a function or a number acts on; None for anything else."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        return node.args[0] if name in FUNCTIONS or is_top(spec, name) else None
    if isinstance(node, ast.BinOp):
        tensors = [side for side in (node.left, node.right) if not _is_constant(side)]
        return tensors[0] if len(tensors) == 1 else None
    return None


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or is_number(node)


def _called(tree: ast.expr) -> list[str]:
    return called([Equation("x", ast.unparse(tree), tree)])
