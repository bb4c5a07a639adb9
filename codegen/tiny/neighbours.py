"""Conditions beside a given one: without an operand, negated in part, with another number."""

import ast
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

OPERATORS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt},
}


def neighbours(tree: ast.expr) -> Iterator[ast.expr]:
    """Each tree that differs from this one in one place."""
    for index, node in enumerate(ast.walk(tree)):
        for number in range(_places(node)):
            copied = deepcopy(tree)
            place = list(ast.walk(copied))[index]
            yield _Swap(place, _changed(place, number)).visit(copied)


def _places(node: ast.AST) -> int:
    """How many other things may stand in place of a node."""
    if isinstance(node, ast.BoolOp):
        return 2
    if isinstance(node, ast.Compare):
        return int(type(node.ops[0]) in COMPARISONS)
    if isinstance(node, ast.BinOp):
        return int(type(node.op) in OPERATORS)
    return int(isinstance(node, ast.UnaryOp) or isinstance(node, ast.Constant) and type(node.value) is int)


def _changed(node: ast.AST, number: int) -> ast.AST:
    if isinstance(node, ast.BoolOp):
        return node.values[-number]
    if isinstance(node, ast.UnaryOp):
        return node.operand
    if isinstance(node, ast.Compare):
        return ast.Compare(node.left, [COMPARISONS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    if isinstance(node, ast.BinOp):
        return ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    assert isinstance(node, ast.Constant) and isinstance(node.value, int)
    return ast.Constant(node.value + 1)


class _Swap(ast.NodeTransformer):
    def __init__(self, place: ast.AST, other: ast.AST) -> None:
        self.place, self.other = place, other

    def visit(self, node: ast.AST) -> Any:
        return self.other if node is self.place else self.generic_visit(node)
