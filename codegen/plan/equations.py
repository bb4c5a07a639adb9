"""Equations as code: calls of parts become calls of modules, and numbers of the config become attributes."""

import ast
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from codegen.language.spec import EXPRESSION_CALLS, FUNCTIONS
from codegen.language.values import Equation

Call = Callable[[str, list[ast.expr]], ast.expr]


def called(equations: Iterable[Equation], every: bool = False) -> list[str]:
    """Dotted names of everything that the equations call, in order; functions of the language only if `every`."""
    names = dict.fromkeys(name for equation in equations for name in _names(equation))
    return [name for name in names if every or name not in (*FUNCTIONS, *EXPRESSION_CALLS)]


@lru_cache(maxsize=4096)
def _names(equation: Equation) -> tuple[str, ...]:
    return tuple(ast.unparse(node.func) for node in _calls(equation.value))


def _calls(tree: ast.expr) -> list[ast.Call]:
    """Calls in the order in which they are evaluated: inner ones first."""
    found: list[ast.Call] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            visit(child)
        if isinstance(node, ast.Call):
            found.append(node)

    visit(tree)
    return found


def parse(code: str) -> ast.expr:
    return ast.parse(code, mode="eval").body


@dataclass
class Rewriter(ast.NodeTransformer):
    """Rewrites one equation: `call` says what a part becomes, `number` what an expression over the config becomes."""

    call: Callable[[str, list[ast.expr]], ast.expr | None]
    number: Callable[[ast.expr], ast.expr]
    names: Mapping[str, str]

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.expr) and is_number(node):
            return self.number(node)
        return super().visit(node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        arguments = [cast(ast.expr, self.visit(argument)) for argument in node.args]
        made = self.call(ast.unparse(node.func), arguments)
        return ast.Call(node.func, arguments, []) if made is None else made

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return parse(self.names.get(node.id, node.id))

    def code(self, tree: ast.expr) -> str:
        return ast.unparse(ast.fix_missing_locations(self.visit(deepcopy(tree))))


def is_number(node: ast.expr) -> bool:
    """Whether it is an expression over the config alone: no tensor, no part."""
    nodes = list(ast.walk(node))
    names = {child.id for child in nodes if isinstance(child, ast.Name)}
    calls = {ast.unparse(child.func) for child in nodes if isinstance(child, ast.Call)}
    named = names & {"config", "layer"}
    return bool(named) and names <= {"config", "layer"} | calls and not calls & set(FUNCTIONS)
