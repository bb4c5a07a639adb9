"""The value of an expression on a given config: needed to find configs under which every branch of a spec is taken.

Only the allow-listed grammar of expressions is walked; nothing of a spec reaches `eval`. Every step is bounded in time
and size: operators take numbers, integers stay within 64 bits, and the grammar bounds how many steps there are.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

LARGEST = 2**63
_operator: Any = operator  # whose stubs leave types open that pyright asks for


class Unknown(LookupError):
    """A name or a function that has no value before a model runs: `position`, `cast`."""


UNREADABLE = (LookupError, TypeError, ValueError, ArithmeticError)  # what `evaluate` raises


def _within(item: Any, group: Any) -> bool:
    return item in group


def _outside(item: Any, group: Any) -> bool:
    return item not in group


def _newer(value: Any, older: Any) -> Any:
    return value


def _per_layer(value: Any, layer: int) -> Any:
    return cast(list[Any], value)[layer] if isinstance(value, list) else value


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and exponent > LARGEST.bit_length():
        raise OverflowError("a power of more than 64 bits")
    value = base**exponent
    if isinstance(value, complex):
        raise ValueError("a root of a negative number")
    return value


def _bfloat16(value: float) -> float:
    """The nearest number of eight significant bits."""
    fraction, exponent = math.frexp(value)
    return math.ldexp(round(fraction * 256), exponent - 8)


ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _operator.add,
    ast.Sub: _operator.sub,
    ast.Mult: _operator.mul,
    ast.Div: _operator.truediv,
    ast.FloorDiv: _operator.floordiv,
    ast.Mod: _operator.mod,
    ast.Pow: _power,
    ast.USub: _operator.neg,
}
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Not: _operator.not_,
    ast.Eq: _operator.eq,
    ast.NotEq: _operator.ne,
    ast.Lt: _operator.lt,
    ast.LtE: _operator.le,
    ast.Gt: _operator.gt,
    ast.GtE: _operator.ge,
    ast.Is: _operator.is_,
    ast.IsNot: _operator.is_not,
    ast.In: _within,
    ast.NotIn: _outside,
}
NUMERIC: dict[str, Callable[..., Any]] = {"sqrt": math.sqrt, "log": math.log, "floor": math.floor, "int": int}
NUMERIC["bfloat16"] = _bfloat16
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{"min": min, "max": max, "len": len, "sum": sum, "per_layer": _per_layer},
    "newer": _newer,
}


def evaluate(tree: ast.expr, config: Mapping[str, Any], **names: Any) -> Any:
    """The value of an expression; `names` are those that it may use besides `config` (`layer`).

    Raises LookupError for a field or an index that is not there, Unknown for a name or a function, TypeError and
    ValueError where values do not fit together, ArithmeticError for what has no value or one of more than 64 bits.
    """

    def value(node: ast.expr) -> Any:
        return evaluate(node, config, **names)

    match tree:
        case ast.Constant():
            return tree.value
        case ast.Name():
            return config if tree.id == "config" else _named(tree.id, names)
        case ast.Attribute():
            return value(tree.value)[tree.attr]
        case ast.Subscript():
            return value(tree.value)[value(tree.slice)]
        case ast.BinOp():
            return _bounded(ARITHMETIC[type(tree.op)], value(tree.left), value(tree.right))
        case ast.UnaryOp(op=ast.USub()):
            return _bounded(ARITHMETIC[ast.USub], value(tree.operand))
        case ast.UnaryOp():
            return OPERATORS[type(tree.op)](value(tree.operand))
        case ast.BoolOp():
            return _until(tree, value)
        case ast.Compare():
            return _chain(tree, value)
        case ast.IfExp():
            return value(tree.body) if value(tree.test) else value(tree.orelse)
        case ast.List() | ast.Tuple():
            return [value(item) for item in tree.elts]
        case ast.Call(func=ast.Name(id=function)) if function in NUMERIC:
            return _bounded(NUMERIC[function], *map(value, tree.args))
        case ast.Call(func=ast.Name(id="given"), args=[field, other]):
            return _given(field, other, value)
        case ast.Call(func=ast.Name(id=function)) if function in FUNCTIONS:
            return FUNCTIONS[function](*map(value, tree.args))
        case _:
            raise Unknown(ast.unparse(tree))


def _given(field: ast.expr, other: ast.expr, value: Callable[[ast.expr], Any]) -> Any:
    """A field that a config may carry, else the other value."""
    try:
        return value(field)
    except KeyError:
        return value(other)


def _named(name: str, names: Mapping[str, Any]) -> Any:
    if name not in names:
        raise Unknown(name)
    return names[name]


def _bounded(operation: Callable[..., Any], *operands: Any) -> Any:
    """The value of an operation on numbers: strings and lists would grow, and `%` would format."""
    for operand in operands:
        if not isinstance(operand, int | float):
            raise TypeError(f"{type(operand).__name__} where a number belongs")
    value = operation(*operands)
    if isinstance(value, int) and abs(value) > LARGEST:
        raise OverflowError("a number of more than 64 bits")
    return value


def _until(tree: ast.BoolOp, value: Callable[[ast.expr], Any]) -> Any:
    """`and` stops at the first false value, `or` at the first true one."""
    found: Any = None
    for item in tree.values:
        found = value(item)
        if bool(found) == isinstance(tree.op, ast.Or):
            break
    return found


def _chain(tree: ast.Compare, value: Callable[[ast.expr], Any]) -> bool:
    left = value(tree.left)
    for operation, item in zip(tree.ops, tree.comparators, strict=True):
        right = value(item)
        if not OPERATORS[type(operation)](left, right):
            return False
        left = right
    return True
