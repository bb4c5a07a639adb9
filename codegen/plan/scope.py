"""Expressions of a spec as code at a place of a generated file."""

import ast
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import field
from functools import lru_cache

from codegen.errors import Problem, SpecError
from codegen.frozen import Frozen
from codegen.language.values import Expression

DICTIONARIES = ("rope_parameters", "rope_scaling")  # fields of a config that stay dicts at run time


class Scope(Frozen):
    """How names of the language are spelled at one place: `config` there, and `layer`, `head_dim`, functions."""

    config: str = "config"
    names: Mapping[str, str] = field(default_factory=lambda: {"layer": "layer_idx"})

    def code(self, expression: Expression, **names: str) -> str:
        """Python source of the expression here; `names` adds spellings.

        Raises:
            SpecError: it depends on the layer, at a place that exists once for the whole model.
        """
        if "layer" not in self.names and "layer" not in names and expression.mentions("layer"):
            message = f"what reads '{expression.text}' exists once for the whole model, and knows no layer"
            raise SpecError([Problem(expression.at, "layer", message, "write it so that all layers agree")])
        return self.tree_code(expression.tree, **names)

    def tree_code(self, tree: ast.expr, **names: str) -> str:
        return _spelled(tree, self.config, tuple({**self.names, **names}.items()))


ATTENTION = Scope()
CONFIG = Scope(names={})  # code that exists once for the whole model, or for all layers
METHOD = Scope(config="self.config", names={})


@lru_cache(maxsize=4096)
def _spelled(tree: ast.expr, config: str, names: tuple[tuple[str, str], ...]) -> str:
    """The tree as code, remembered by the tree: a default is the same one in all specs."""
    return normal(ast.unparse(_Spell(config, dict(names)).visit(deepcopy(tree))))


class _Spell(ast.NodeTransformer):
    def __init__(self, config: str, names: Mapping[str, str]) -> None:
        self.config, self.names = config, names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == "config":
            return ast.parse(self.config, mode="eval").body
        return ast.parse(self.names[node.id], mode="eval").body if node.id in self.names else node

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """`newer(config.x, y)` and `given(config.x, y)` read the field by its name: there may be none."""
        match node:
            case ast.Call(func=ast.Name(id="newer" | "given"), args=[ast.Attribute(value=holder, attr=name), other]):
                return ast.Call(node.func, [self.visit(holder), ast.Constant(name), self.visit(other)], [])
            case _:
                return self.generic_visit(node)  # pyright: ignore[reportReturnType]

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        inner = node.value
        value = self.visit(inner)
        if _is_dictionary(inner):
            return ast.Subscript(value, ast.Constant(node.attr), ast.Load())
        return ast.Attribute(value, node.attr, node.ctx)


def _is_dictionary(node: ast.expr) -> bool:
    if isinstance(node, ast.Subscript):
        return _is_dictionary(node.value)
    return isinstance(node, ast.Attribute) and node.attr in DICTIONARIES


@lru_cache(maxsize=4096)
def normal(code: str) -> str:
    """The one spelling of an expression, without needless parentheses."""
    return ast.unparse(_NegativeExponents().visit(ast.parse(code, mode="eval")))


class _NegativeExponents(ast.NodeTransformer):
    """`x ** -0.5` without the parentheses that `ast.unparse` puts around a negated number."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.BinOp:
        self.generic_visit(node)
        if isinstance(node.op, ast.Pow):
            match node.right:
                case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                    node.right = ast.Constant(-number)
                case _:
                    pass
        return node


OPPOSITES: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
}


def negated(code: str) -> str:
    """`not code`, as people write it: `x is not None` instead of `not x is None`."""
    tree = ast.parse(code, mode="eval").body
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return (
            ast.unparse(tree.operand) if is_truth(ast.unparse(tree.operand)) else f"bool({ast.unparse(tree.operand)})"
        )
    if isinstance(tree, ast.Compare) and len(tree.ops) == 1 and type(tree.ops[0]) in OPPOSITES:
        return ast.unparse(ast.Compare(tree.left, [OPPOSITES[type(tree.ops[0])]], tree.comparators))
    return f"not ({code})"


def is_truth(code: str) -> bool:
    """Whether the expression yields True or False and nothing else."""
    tree = ast.parse(code, mode="eval").body
    if isinstance(tree, ast.BoolOp):
        return all(is_truth(ast.unparse(value)) for value in tree.values)
    return isinstance(tree, ast.Compare) or (isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not))


def is_atom(code: str) -> bool:
    """Whether the expression is a name or an attribute: short enough to repeat."""
    return isinstance(ast.parse(code, mode="eval").body, ast.Name | ast.Attribute | ast.Constant)


def product(*factors: str) -> str:
    """a * b, with parentheses where needed."""
    return normal(" * ".join(f"({factor})" for factor in factors))
