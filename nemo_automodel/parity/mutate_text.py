"""Other equations and expressions near a given one: one call, one term, one constant or one operator changed."""

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy

from codegen.language.spec import Spec

LARGE = 100  # to such a number, a count of positions say, one more would be within rounding
UNCALLED = "drop the call"  # begins what is said of an equation in which an argument stands for its call
DROPPED = "drop the term"  # begins what is said of an equation that lost one
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


def lines_of(flat: Spec, section: str) -> list[str]:
    """The equations of a section, whether the file writes them or not."""
    return [f"{one.target} = {ast.unparse(one.value)}" for one in getattr(flat, section)]


def equation_mutants(equation: str) -> Iterator[tuple[str, str]]:
    """(what was done, the equation after it) for `name = expression`."""
    target, _, value = equation.partition("=")
    for done, text in expression_mutants(value.strip()):
        yield done, f"{target.strip()} = {text}"


def expression_mutants(expression: str) -> Iterator[tuple[str, str]]:
    """(what was done, the expression after it), each differing from the given one in one place."""
    tree = ast.parse(expression, mode="eval")
    seen = {ast.unparse(tree)}
    older = {id(node.args[1]) for node in ast.walk(tree) if _is_newer(node)}  # counts in some releases of transformers
    for index, node in enumerate(ast.walk(tree)):
        for done, replacement in _replacements(node) if id(node) not in older else ():
            changed = ast.unparse(_replaced(tree, index, replacement))
            if changed not in seen:
                seen.add(changed)
                yield done, changed


def _replacements(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.expr], ast.expr]]]:
    """What may stand in place of a node."""
    if isinstance(node, ast.Call) and node.args:
        yield f"{UNCALLED} {ast.unparse(node.func)}", lambda n: n.args[0]  # type: ignore[attr-defined]
    if _is_newer(node):
        yield f"another number than {ast.unparse(node)}", lambda n: ast.BinOp(n, ast.Mult(), ast.Constant(1.5))
    if isinstance(node, ast.BinOp):
        yield f"{DROPPED} {ast.unparse(node.right)}", lambda n: n.left  # type: ignore[attr-defined]
        yield f"{DROPPED} {ast.unparse(node.left)}", lambda n: n.right  # type: ignore[attr-defined]
        if isinstance(node.op, ast.Add) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, ast.Add):
            yield "add the last two terms first", _reassociated
    if isinstance(node, ast.IfExp):
        yield "take the first branch", lambda n: n.body  # type: ignore[attr-defined]
        yield "take the other branch", lambda n: n.orelse  # type: ignore[attr-defined]
    if isinstance(node, ast.BoolOp):
        yield "take the first operand", lambda n: n.values[0]  # type: ignore[attr-defined]
        yield "take the last operand", lambda n: n.values[-1]  # type: ignore[attr-defined]
    if isinstance(node, ast.UnaryOp):
        yield "drop the sign", lambda n: n.operand  # type: ignore[attr-defined]
    if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPPED:
        yield f"another operator in {ast.unparse(node)}", _other_operator
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield f"negate {ast.unparse(node)}", _other_comparison
    if isinstance(node, ast.Constant):
        yield f"another number than {node.value!r}", _other_constant


def _is_newer(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "newer"


def _reassociated(node: ast.expr) -> ast.expr:
    """(a + b) + c -> a + (b + c): the order of additions is part of the meaning, in bf16."""
    inner = node.left  # type: ignore[attr-defined]
    return ast.BinOp(inner.left, ast.Add(), ast.BinOp(inner.right, ast.Add(), node.right))  # type: ignore[attr-defined]


def _other_operator(node: ast.expr) -> ast.expr:
    node.op = SWAPPED[type(node.op)]()  # type: ignore[attr-defined]
    return node


def _other_comparison(node: ast.expr) -> ast.expr:
    node.ops[0] = SWAPPED[type(node.ops[0])]()  # type: ignore[attr-defined]
    return node


def _other_constant(node: ast.expr) -> ast.expr:
    value = node.value  # type: ignore[attr-defined]
    if isinstance(value, bool):
        node.value = not value  # type: ignore[attr-defined]
    elif isinstance(value, int):
        node.value = value + (value // 2 if value >= LARGE else 1)  # type: ignore[attr-defined]
    elif isinstance(value, float):
        node.value = value * 1.5  # type: ignore[attr-defined]
    return node


def _replaced(tree: ast.Expression, index: int, replacement: Callable[[ast.expr], ast.expr]) -> ast.Expression:
    """A copy of the tree with the node that stands at `index` of its walk replaced."""
    copied = deepcopy(tree)
    target = list(ast.walk(copied))[index]

    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return replacement(node) if node is target else self.generic_visit(node)  # type: ignore[arg-type]

    return ast.fix_missing_locations(Swap().visit(copied))
