"""Other equations of a projector near a given one: what any equation may lose, and what rows may do otherwise."""

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy

from codegen.language.vision.equations import ACTIVATIONS, ORDERS, REGROUPS
from nemo_automodel.parity.mutate_text import equation_mutants

OTHERS = ("relu", "silu")  # an activation is set to the first of these that it is not


def projection_mutants(equation: str) -> Iterator[tuple[str, str]]:
    """(what was done, the equation after it) for `x = ...` or `a, b = chunk(..., 2)`, each once."""
    seen = {equation}
    for done, mutant in (*equation_mutants(equation), *_halves(equation), *_calls(equation)):
        if mutant not in seen:
            seen.add(mutant)
            yield done, mutant


def _halves(equation: str) -> Iterator[tuple[str, str]]:
    targets, _, value = equation.partition("=")
    first, comma, second = targets.partition(",")
    if comma:
        yield "swap the halves", f"{second.strip()}, {first.strip()} = {value.strip()}"


def _calls(equation: str) -> Iterator[tuple[str, str]]:
    """Other activations, other orders of neighbours, more of them, and their mean in place of all of them."""
    targets, _, value = equation.partition("=")
    tree = ast.parse(value.strip(), mode="eval")
    for index, node in enumerate(ast.walk(tree)):
        for done, change in _changes(node):
            copied = deepcopy(tree)
            change(list(ast.walk(copied))[index])
            yield done, f"{targets.strip()} = {ast.unparse(copied)}"


def _changes(node: ast.AST) -> Iterator[tuple[str, Callable[[ast.Call], None]]]:
    """What may be done to a node, in place."""
    name = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    if not isinstance(node, ast.Call) or not name:
        return
    if name in (*ACTIVATIONS, "act"):
        other = next(one for one in OTHERS if one != name)
        yield f"{name} -> {other}", _renamed(other)
    if name in REGROUPS:
        count = ast.unparse(node.args[1])
        yield f"{name}: one more than {count}", _argument(1, f"({count}) + 1")
        other = next(one for one in REGROUPS if one != name)
        yield f"{name} -> {other}", _renamed(other, 2)
    if name == "merge_patches":
        order = ast.unparse(node.args[2]) if len(node.args) > 2 else ORDERS[0]
        yield from ((f"{order} -> {one}", _argument(2, one)) for one in ORDERS if one != order)


def _renamed(name: str, arguments: int | None = None) -> Callable[[ast.Call], None]:
    def change(node: ast.Call) -> None:
        node.func, node.args = ast.Name(name), node.args[:arguments]

    return change


def _argument(index: int, text: str) -> Callable[[ast.Call], None]:
    def change(node: ast.Call) -> None:
        node.args[index:] = [ast.parse(text, mode="eval").body, *node.args[index + 1 :]]

    return change
