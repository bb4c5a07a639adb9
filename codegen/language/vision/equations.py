"""Equations of a projector: `x = linear_2(act(linear_1(x)))`, over rows of patches."""

import ast
import re
from collections.abc import Collection, Iterator
from typing import TypeAlias

from codegen.errors import Location, cut
from codegen.frozen import Frozen
from codegen.language.expressions import Refused, parse, python
from codegen.language.spec import EXPRESSION_CALLS
from codegen.language.suggest import cure
from codegen.language.values import NOWHERE

ORDERS = ("raster", "preordered", "channel_major")
REGROUPS = ("merge_patches", "avg_pool")  # they change how many rows an image has
PACKS = "pack_tiles"
FUNCTIONS = (*REGROUPS, PACKS, "chunk", "act")
ACTIVATIONS = ("gelu", "gelu_pytorch_tanh", "quick_gelu", "relu", "sigmoid", "silu", "tanh")
_TARGETS = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:,\s*([A-Za-z_]\w*)\s*)?=(?!=)(.*)", re.DOTALL | re.ASCII)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_ARITY = {"merge_patches": (2, 3), "avg_pool": (2, 2), "chunk": (2, 2), PACKS: (2, 3)}


class Projected(Frozen):
    """`targets = value`, where calls are functions, activations, or parts."""

    targets: tuple[str, ...]
    value: ast.expr
    at: Location = NOWHERE


Projection: TypeAlias = tuple[Projected, ...]  # none: the tower has a projector of its own


def parse_projected(text: str, at: Location = NOWHERE) -> Projected:
    """One equation.

    Raises:
        Refused: where the text is none.
    """
    match = _TARGETS.match(text)
    if match is None:
        raise Refused(f"'{cut(text)}' is no equation", "write x = expression, or a, b = chunk(x, 2)")
    first, second, right = match.groups()
    tree = python(right)
    for target in filter(None, (first, second)):
        if target in (*FUNCTIONS, *ACTIVATIONS, *ORDERS, "config"):
            raise Refused(f"'{target}' cannot be bound", "choose another name on the left of =")
    halves = isinstance(tree, ast.Call) and _name(tree) == "chunk"
    if halves != (second is not None):
        raise Refused(f"'{cut(text)}': chunk gives two halves, and nothing else does", "write a, b = chunk(x, 2)")
    _check(tree, outermost=True)
    return Projected((first,) if second is None else (first, second), tree, at)


def _check(node: ast.expr, outermost: bool = False) -> None:
    if isinstance(node, ast.Name):
        return
    if isinstance(node, ast.BinOp) and isinstance(node.op, _ARITHMETIC):
        _check(node.left)
        _check(node.right)
    elif isinstance(node, ast.Call):
        _call(node, outermost)
    else:
        parse(ast.unparse(node), names=("config",))


def _call(node: ast.Call, outermost: bool) -> None:
    name, shown = _name(node), cut(ast.unparse(node))
    if name == "chunk" and not outermost:
        raise Refused(f"'{shown}' gives two halves", "write a, b = chunk(x, 2) in an equation of its own")
    if name in EXPRESSION_CALLS:
        raise Refused(f"'{shown}' is called on no rows", "write a number without a call: x * config.<field> ** 0.5")
    fewest, most = _ARITY.get(name, (1, 1))
    if not name or node.keywords or not fewest <= len(node.args) <= most:
        raise Refused(f"'{shown}': {name or 'this'} takes {fewest} to {most} arguments", f"write {name or 'part'}(x)")
    _check(node.args[0])
    if name in REGROUPS:
        parse(ast.unparse(node.args[1]), names=("config",))
    if name == "chunk" and ast.unparse(node.args[1]) != "2":
        raise Refused(f"'{shown}' is not allowed", "write chunk(x, 2)")
    if name == PACKS:
        if not outermost or not isinstance(node.args[1], ast.Name):
            raise Refused(f"'{shown}' is not allowed", "write x = pack_tiles(..., <parameter>), the last equation")
        if len(node.args) == 3:
            parse(ast.unparse(node.args[2]), names=("config",))
    elif len(node.args) == 3 and (order := ast.unparse(node.args[2])) not in ORDERS:
        raise Refused(f"'{cut(order)}' is no order", cure(order, ORDERS))


def _name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def calls(projection: Projection) -> Iterator[str]:
    """What the equations call, in the order in which it is computed."""
    for equation in projection:
        yield from _calls(equation.value)


def _calls(node: ast.AST) -> Iterator[str]:
    """What is behind the first argument of a call is read from the config."""
    for child in node.args[:1] if isinstance(node, ast.Call) else ast.iter_child_nodes(node):
        yield from _calls(child)
    if isinstance(node, ast.Call):
        yield _name(node)


def parts_called(projection: Projection) -> list[str]:
    """The parts, each once."""
    return list(dict.fromkeys(name for name in calls(projection) if name not in (*FUNCTIONS, *ACTIVATIONS)))


def packing(projection: Projection) -> Iterator[tuple[Projected, ast.Call]]:
    """The equations that put tiles together, with the calls."""
    for equation in projection:
        if isinstance(equation.value, ast.Call) and _name(equation.value) == PACKS:
            yield equation, equation.value


def names_read(projection: Projection) -> set[str]:
    """Names that stand for a value."""
    return {name for equation in projection for name in _read(equation.value)}


def unbound(projection: Projection, known: Collection[str] = ()) -> Iterator[tuple[Projected, str, Collection[str]]]:
    """Names that are read and not bound, with those that are; `known` are bound from the start."""
    bound = ["x", *known]
    for equation in projection:
        for name in _read(equation.value):
            if name not in bound:
                yield equation, name, tuple(bound)
        bound += equation.targets


def _read(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        tensors = node.args[: 2 if _name(node) == PACKS else 1]
        yield from (name for argument in tensors for name in _read(argument))
    elif isinstance(node, ast.Name):
        yield node.id
    elif not isinstance(node, ast.Attribute):
        for child in ast.iter_child_nodes(node):
            yield from _read(child)
