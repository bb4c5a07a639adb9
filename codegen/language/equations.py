"""Text of a spec as equations over tensors: `x = x + attention(input_layernorm(x))`."""

import ast
import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

from codegen.errors import Location, cut
from codegen.frozen import Frozen
from codegen.language.expressions import CAST_TO, Refused, operands, python
from codegen.language.spec import EXPRESSION_CALLS, FUNCTIONS, WITH_FIELD
from codegen.language.suggest import cure, nearest
from codegen.language.values import NOWHERE, Equation

_TARGET = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*=(?!=)(.*)", re.DOTALL)
_VALUES = ("config", "layer")
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div)
_CONFIG_CALLS = tuple(name for name in EXPRESSION_CALLS if name != "cast")


class Group(Frozen):
    """`input`, `block` or `output`: what it starts from, what it must bind last."""

    name: str
    given: tuple[str, ...]
    result: str


GROUPS = {
    "input": Group("input", ("ids", "positions"), "x"),
    "block": Group("block", ("x",), "x"),
    "output": Group("output", ("x",), "logits"),
}


class Refusal(Frozen):
    """Something wrong at one equation."""

    equation: Equation
    message: str
    cure: str


def parse(text: str, at: Location = NOWHERE) -> Equation:
    """One equation.

    Raises:
        Refused: where the text is none.
    """
    target, value, tree = _parsed(text)
    return Equation(target, value, tree, at)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[str, str, ast.expr]:
    match = _TARGET.match(text)
    if match is None:
        raise Refused(f"'{cut(text)}' is no equation", "write `name = expression`")
    target, right = match.groups()
    if target in (*FUNCTIONS, *EXPRESSION_CALLS, "config", "layer", "ids", "positions"):
        raise Refused(f"'{cut(target)}' cannot be bound", "choose another name on the left of =")
    tree = python(right)
    _check(tree)
    return target, ast.unparse(tree), tree


def _check(node: ast.expr) -> None:
    """The form only: which names are bound is the matter of the whole group."""
    if isinstance(node, ast.Name):
        return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise Refused(f"'{_shown(node)}' is not allowed in an equation", "write a number")
    elif isinstance(node, ast.Attribute | ast.Subscript):
        _config_value(node)
    elif isinstance(node, ast.Call):
        _call(node)
    else:
        if isinstance(node, ast.BinOp) and not isinstance(node.op, _ARITHMETIC) and calls_part(node):
            message = f"'{_shown(node)}': tensors are added, subtracted, multiplied and divided only"
            raise Refused(message, "write +, -, * or /")
        for child in operands(node):
            _check(child)


def _config_value(node: ast.expr) -> None:
    from codegen.language.expressions import parse as parse_expression

    parse_expression(ast.unparse(node), names=_VALUES)


def _call(node: ast.Call) -> None:
    name = called(node)
    if name is None:
        raise Refused(f"'{_shown(node)}' is no call of a part", "call a name: attention(x)")
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise Refused(f"'{_shown(node)}': calls take positional arguments only", f"write {cut(name)}(x)")
    if name in _CONFIG_CALLS or name == "cast":
        return _config_value(node)
    wanted = 2 if name in WITH_FIELD else 1
    if len(node.args) != wanted:
        given = f"write {name}(x, {WITH_FIELD[name]})" if wanted == 2 else f"write {cut(name)}(x)"
        raise Refused(f"'{_shown(node)}': {cut(name)} takes {wanted} argument(s), not {len(node.args)}", given)
    for argument in node.args:
        _check(argument)
    return None


def _shown(node: ast.AST) -> str:
    return cut(ast.unparse(node))


def called(node: ast.Call) -> str | None:
    """The dotted name that is called: `norm_attn_norm.norm_1`; None for anything else."""
    parts: list[str] = []
    function = node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if not isinstance(function, ast.Name) or function.id in ("config", "layer"):
        return None
    parts.append(function.id)
    if any(part.startswith("__") for part in parts):
        return None
    return ".".join(reversed(parts))


def calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls in a tree that are parts, norms or functions over tensors, innermost last."""
    for child in ast.walk(node):
        if isinstance(child, ast.Call) and called(child) not in (*_CONFIG_CALLS, "cast"):
            yield child


def calls_part(node: ast.AST) -> bool:
    return any(True for _ in calls(node))


def called_names(equations: Sequence[Equation]) -> list[str]:
    """Parts and norms that the equations call, each once, in the order of reading; no functions."""
    return list(dict.fromkeys(name for equation in equations for name in _names(equation.target, equation.text)))


@lru_cache(maxsize=4096)
def _names(target: str, text: str) -> tuple[str, ...]:
    found = (called(call) for call in calls(_parsed(f"{target} = {text}")[2]))
    return tuple(name for name in found if name is not None and name not in FUNCTIONS)


def problems(group: Group, equations: Sequence[Equation], parts: Collection[str], head: str) -> Iterator[Refusal]:
    """What is wrong with the equations of a group as a whole.

    `parts` are the declared parts, attention and mlp among them; `head` is the head's name on disk.
    """
    bound = [*group.given]
    for equation in equations:
        yield from _unbound(equation, bound, group)
        yield from _near_misses(equation, {*parts, head} if group.name == "output" else parts)
        bound.append(equation.target)
    yield from _unused(equations)
    yield from _second_attention(equations) if group.name == "block" else _outside_layers(equations)
    if equations and equations[-1].target != group.result:
        message = f"the last equation binds '{cut(equations[-1].target)}', not '{group.result}'"
        yield Refusal(equations[-1], message, f"end with `{group.result} = ...`")
    if group.name == "input" and not any(_embeds(equation) for equation in equations):
        yield Refusal(equations[0], "nothing is called on `ids`", "the token embedding is: x = embed_tokens(ids)")
    if group.name == "output":
        yield from _head(equations[-1], head, equations)


def _unbound(equation: Equation, bound: Sequence[str], group: Group) -> Iterator[Refusal]:
    functions = {id(call.func) for call in ast.walk(equation.value) if isinstance(call, ast.Call)}
    for node in _outside_config(equation.value, functions):
        if node.id in bound or (node.id == "layer" and group.name == "block"):
            continue
        if node.id in CAST_TO and "cast(" in equation.text:
            continue
        yield Refusal(equation, f"'{cut(node.id)}' is not bound here", cure(node.id, dict.fromkeys(bound), "bound"))


def _outside_config(tree: ast.expr, functions: set[int]) -> Iterator[ast.Name]:
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name):
            if node.id != "config":
                yield node
        else:
            pending.extend(child for child in ast.iter_child_nodes(node) if id(child) not in functions)


def _unused(equations: Sequence[Equation]) -> Iterator[Refusal]:
    """Names that are bound and neither read nor bound last: the equation does nothing."""
    for index, equation in enumerate(equations[:-1]):
        for later in equations[index + 1 :]:
            if any(isinstance(node, ast.Name) and node.id == equation.target for node in ast.walk(later.value)):
                break
            if later.target == equation.target or later is equations[-1]:
                yield Refusal(equation, f"'{cut(equation.target)}' is never used", "use it, or remove the equation")
                break


def _second_attention(equations: Sequence[Equation]) -> Iterator[Refusal]:
    """A layer has one cache, so one call of the token mixer."""
    found = [equation for equation in equations for call in calls(equation.value) if called(call) == "attention"]
    for equation in found[1:]:
        yield Refusal(equation, "'attention' is called twice", "bind its result to a name, or declare a further part")


def _outside_layers(equations: Sequence[Equation]) -> Iterator[Refusal]:
    """The token mixer and the channel mixer live in the layers."""
    for equation in equations:
        for name in {"attention", "mlp"} & set(called_names([equation])):
            yield Refusal(equation, f"'{name}' is a part of the layers", "call it in block, or declare a further part")


def _near_misses(equation: Equation, parts: Collection[str]) -> Iterator[Refusal]:
    """Any unknown name is a norm, so a mistyped part would be one silently."""
    known = {*parts, *FUNCTIONS}
    for call in calls(equation.value):
        name = called(call) or ""
        if name in known or "norm" in name or name.startswith("ln") or _is_table(call):
            continue
        near = nearest(name, known)
        if near is not None:
            yield Refusal(equation, f"'{cut(name)}' is used as a norm", f"did you mean '{near}'?")


def _embeds(equation: Equation) -> bool:
    return any(_mentions(call, "ids") for call in calls(equation.value))


def _is_table(call: ast.Call) -> bool:
    """Whether this is the token embedding or a table of positions."""
    return _mentions(call, "ids") or _mentions(call, "positions")


def _mentions(call: ast.Call, name: str) -> bool:
    argument = call.args[0]
    while isinstance(argument, ast.BinOp):
        argument = argument.left
    return isinstance(argument, ast.Name) and argument.id == name


def _head(last: Equation, head: str, equations: Sequence[Equation]) -> Iterator[Refusal]:
    heads = [call for equation in equations for call in calls(equation.value) if called(call) == head]
    if len(heads) != 1:
        how = "is not called" if not heads else "is called more than once"
        yield Refusal(
            last, f"the head '{cut(head)}' {how}", f"write logits = {cut(head)}(...); checkpoint.names.head names it"
        )
    elif not any(call is heads[0] for call in ast.walk(last.value)):
        yield Refusal(
            last, f"the head '{cut(head)}' is called before the last equation", f"write logits = {cut(head)}(...) last"
        )
    elif (strange := _outside_head(last.value, heads[0])) is not None:
        message = f"'{_shown(strange)}' is not allowed around the head"
        yield Refusal(last, message, "a product with or a quotient by numbers, and softcap, are")


def _outside_head(node: ast.expr, head: ast.Call) -> ast.expr | None:
    """The outermost thing around the head call that cannot be applied to a chunk of logits."""
    if node is head:
        return None
    if isinstance(node, ast.Call) and called(node) == "softcap":
        return _outside_head(node.args[0], head)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        inner, other = (node.left, node.right) if _holds(node.left, head) else (node.right, node.left)
        if next(_outside_config(other, set()), None) is None and not (
            isinstance(node.op, ast.Div) and inner is node.right
        ):
            return _outside_head(inner, head)
    return node


def _holds(node: ast.expr, wanted: ast.expr) -> bool:
    return any(child is wanted for child in ast.walk(node))
