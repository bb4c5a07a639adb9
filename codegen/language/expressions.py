"""Text of a spec as an expression over the config: parsed with `ast` under an allow-list, never evaluated."""

import ast
import warnings
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from codegen.errors import Location, cut
from codegen.language.spec import EXPRESSION_CALLS
from codegen.language.suggest import cure
from codegen.language.values import NOWHERE, Expression

MAX_LENGTH = 1000
MAX_NODES = 400
MAX_DEPTH = 40  # of brackets, operators and dots within one another
MAX_INTEGER = 2**63
NAMES = ("config", "layer")  # known everywhere; `position` and `head_dim` at one key each
_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_UNARY = (ast.USub, ast.Not)
_COMPARE = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot)
_CONSTANTS = (str, int, float, bool, type(None))
_LOWER = {"true": "True", "false": "False", "none": "None", "null": "None"}


class Refused(Exception):
    """Text that is no expression or equation of the language: what is wrong, and the cure."""

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(message)
        self.message, self.cure = message, cure


def parse(
    value: Any, at: Location = NOWHERE, names: Collection[str] = NAMES, words: Collection[str] = ()
) -> Expression:
    """An expression from a scalar of a spec file; a number or a truth value is one too, `none` is None.

    `names` may be mentioned besides calls; one of `words` may stand undecorated and is a string then.

    Raises:
        Refused: where the value is none.
    """
    text, tree = _parsed(value, value.__class__, frozenset(names), frozenset(words))
    return Expression(text, tree, at)


@lru_cache(maxsize=4096)
def _parsed(value: Any, _: type, names: frozenset[str], words: frozenset[str]) -> tuple[str, ast.expr]:
    """`_`: True and 1 are equal but not the same value."""
    if not isinstance(value, str):
        tree: ast.expr = ast.Constant(value)
        return ast.unparse(tree), tree
    if value in ("none", "None"):
        return "None", ast.Constant(None)
    if value in words:
        return repr(value), ast.Constant(value)
    if words and value.isidentifier() and value not in names:
        raise Refused(f"'{cut(value)}' is not known", cure(value, sorted(words)))
    tree = python(value)
    _check(tree, names)
    return ast.unparse(tree), tree


def python(text: str) -> ast.expr:
    """The tree of one Python expression of acceptable size.

    Raises:
        Refused: where the text is none.
    """
    if len(text) > MAX_LENGTH:
        raise Refused(f"longer than {MAX_LENGTH} characters", "bind parts of it to names, or shorten it")
    if not text.isascii():
        raise Refused("contains characters that are not ASCII", "write ASCII only")
    try:
        with warnings.catch_warnings(action="ignore"):  # about escapes in strings, which are refused or harmless
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise Refused(f"'{cut(text)}' is no expression ({cut(error.msg)})", _balance(text)) from None
    except (RecursionError, MemoryError, ValueError):
        raise Refused("the expression is too deep or too large", "shorten it") from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise Refused("the expression is too large", "shorten it")
    if _is_deep(tree):
        raise Refused(f"nested more than {MAX_DEPTH} deep", "bind parts of it to names, or shorten it")
    return tree


def _is_deep(tree: ast.AST) -> bool:
    """Whether walking the tree by recursion would go too deep."""
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return bool(level)


def _balance(text: str) -> str:
    if text.count("(") != text.count(")") or text.count("[") != text.count("]") or text.count("{") != text.count("}"):
        from codegen.language.load import QUOTE

        return f"brackets are not balanced: {QUOTE}"
    return "write one Python expression"


def _check(node: ast.expr, names: frozenset[str]) -> None:
    """Refuse whatever the language does not know, from the outside in."""
    if isinstance(node, ast.Constant):
        _constant(node)
    elif isinstance(node, ast.Name):
        _name(node.id, names)
    elif isinstance(node, ast.Call):
        _call(node, names)
    elif isinstance(node, ast.Attribute | ast.Subscript):
        _path(node, names)
    else:
        for child in operands(node):
            _check(child, names)


def operands(node: ast.expr) -> Iterator[ast.expr]:
    """What an operator joins.

    Raises:
        Refused: where the node is no operator, list or conditional of the language.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, _BINARY):
        return iter((node.left, node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, _UNARY):
        return iter((node.operand,))
    if isinstance(node, ast.BoolOp):
        return iter(node.values)
    if isinstance(node, ast.Compare) and all(map(_comparison, node.ops, node.comparators)):
        return iter((node.left, *node.comparators))
    if isinstance(node, ast.IfExp):
        return iter((node.body, node.test, node.orelse))
    if isinstance(node, ast.List | ast.Tuple):
        return iter(node.elts)
    raise Refused(
        f"'{_shown(node)}' is not allowed", "allowed: config fields, numbers, strings, lists, operators, calls"
    )


def _comparison(operator: ast.cmpop, right: ast.expr) -> bool:
    """`is` compares with None only."""
    if isinstance(operator, ast.Is | ast.IsNot):
        return isinstance(right, ast.Constant) and right.value is None
    return isinstance(operator, _COMPARE)


def _shown(node: ast.AST) -> str:
    return cut(ast.unparse(node))


def _constant(node: ast.Constant) -> None:
    value = node.value
    if type(value) not in _CONSTANTS or (isinstance(value, float) and value in (float("inf"), float("-inf"))):
        raise Refused(f"'{_shown(node)}' is not allowed", "write a finite number or a string")
    if isinstance(value, int) and value > MAX_INTEGER:
        raise Refused(f"'{_shown(node)}' is too large", "write a number of less than 64 bits")
    if isinstance(value, str) and not value.isprintable():
        raise Refused("a string with control characters", "remove them")


def _name(name: str, names: frozenset[str]) -> None:
    if name == "config":
        raise Refused("'config' alone is no value", "write config.<field>")
    if name in names:
        return
    if name in _LOWER:
        raise Refused(f"'{name}' is not known", f"write {_LOWER[name]}")
    known = sorted(names)
    near = cure(name, known)
    if not near.startswith("did"):
        near = f"a field of the config is written config.{name}; known names: {', '.join(known)}"
    raise Refused(f"'{cut(name)}' is not known", near)


def _call(node: ast.Call, names: frozenset[str]) -> None:
    function = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if function not in EXPRESSION_CALLS:
        raise Refused(f"'{cut(function)}' is no function", cure(function, EXPRESSION_CALLS, "functions"))
    if node.keywords or not node.args or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise Refused(f"'{_shown(node)}': {function} takes positional arguments only", f"write {function}(...)")
    _arity(function, node)
    for index, argument in enumerate(node.args):
        dtype = function == "cast" and index == 1
        if dtype and not (isinstance(argument, ast.Name) and argument.id in CAST_TO):
            message = f"'{_shown(node)}': the second argument of cast is `weight` or `float32`"
            raise Refused(message, "write cast(value, weight)")
        if not dtype:
            _check(argument, names)


CAST_TO = ("weight", "float32")  # the dtype of the weight beside it, or that
_ARITY = {"per_layer": 2, "newer": 2, "given": 2, "cast": 2, "min": None, "max": None}


def _arity(function: str, node: ast.Call) -> None:
    wanted = _ARITY.get(function, 1)
    if wanted is not None and len(node.args) != wanted:
        count = "one argument" if wanted == 1 else f"{wanted} arguments"
        raise Refused(f"'{_shown(node)}': {function} takes {count}, not {len(node.args)}", f"give it {count}")


def _path(node: ast.Attribute | ast.Subscript, names: frozenset[str]) -> None:
    """`config.a.b`, `config.a[expression]` and mixtures."""
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute | ast.Subscript):
        if isinstance(inner, ast.Subscript):
            for bound in bounds(inner.slice):
                _check(bound, names)
        elif inner.attr.startswith("__"):
            raise Refused(f"'{_shown(node)}' is not allowed", "name a field of the config")
        inner = inner.value
    if not (isinstance(inner, ast.Name) and inner.id == "config"):
        raise Refused(f"'{_shown(node)}' is not allowed", "only fields of `config` have a dot or an index")
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        raise Refused(f"'{_shown(node)}' is not allowed", "write config.<field>")


def bounds(index: ast.expr) -> list[ast.expr]:
    """What stands between brackets: an index, or the ends of a slice."""
    parts = (index.lower, index.upper, index.step) if isinstance(index, ast.Slice) else (index,)
    return [part for part in parts if part is not None]


def config_paths(tree: ast.AST) -> Iterator[str]:
    """The fields that an expression reads, dotted, without `config.`: `rope_parameters.rope_theta`."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Attribute) and (path := _dotted(node)) is not None:
            yield path
        else:
            pending.extend(ast.iter_child_nodes(node))


def newer_paths(tree: ast.AST) -> set[str]:
    """The fields x of every `newer(config.x, ...)`: those that only newer releases of transformers declare."""
    return _first_paths(tree, "newer")


def given_paths(tree: ast.AST) -> set[str]:
    """The fields x of every `given(config.x, ...)`: those that published configs may carry, and no class declares."""
    return _first_paths(tree, "given")


def _first_paths(tree: ast.AST, function: str) -> set[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == function]
    return {path for call in calls if (path := _dotted(call.args[0])) is not None}


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(reversed(parts)) if isinstance(node, ast.Name) and node.id == "config" else None
