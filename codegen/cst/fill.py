"""Filling templates: ordinary Python modules in which some names are holes.

| in the template              | becomes                                                                  |
|------------------------------|--------------------------------------------------------------------------|
| `hole.scale`                 | an expression, or nothing where it is an argument whose value is OMIT    |
| `stmts.block` as a statement | statements                                                               |
| `if when.qk_norm:` ... else  | the statements of the branch that the plan chose                         |
| `self.role_out`              | the attribute of that role; one that lies deeper is made by `place`       |
| `TemplateAttention`          | `LlamaAttention`                                                         |
| `maybe_x` as a parameter     | the parameter `x`, or nothing, as the plan chose under `when.x`          |
| `contract` as a parameter    | the parameters of the function of that name in `templates/contract.py`   |
| `{key}` in a docstring       | text                                                                     |

A template is read once. What it shares with every result (all that holds no hole) is shared as the same nodes; a fill
copies only the paths to holes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import libcst as cst

from codegen.cst.holes import OMIT, HoleError, Holes, comment_lines, docstring, expression, ident
from codegen.cst.imports import Import, imports_of
from codegen.members import is_name, member

TEMPLATES = Path(__file__).parent.parent / "templates"
CONTRACT = re.compile(r"(def (\w+))\(self, contract\)")
PATH = re.compile(r"\w+(\.\w+)*", re.ASCII)
PLACEHOLDER = re.compile(r"\{(\w+)\}")
LOOSE = (cst.BinaryOperation, cst.UnaryOperation, cst.BooleanOperation, cst.Comparison, cst.IfExp, cst.Lambda)
TIGHT = (cst.BinaryOperation, cst.UnaryOperation, cst.Attribute, cst.Subscript, cst.Call)

Fill = Callable[[Holes], Any]


class Template:
    """One template module, by its name under `codegen/templates/`."""

    def __init__(self, source: str) -> None:
        self.module = cst.parse_module(CONTRACT.sub(_contract, source))
        definitions = (item for item in self.module.body if isinstance(item, cst.ClassDef | cst.FunctionDef))
        self.definitions = {item.name.value: item for item in definitions}
        self._fills: dict[str, Fill] = {}

    def fill(self, name: str, holes: Holes) -> cst.BaseStatement:
        """One top-level class or function with its holes filled."""
        if name not in self._fills:
            self._fills[name] = _compile(self.definitions[name]) or _constant(self.definitions[name])
        return cast(cst.BaseStatement, self._fills[name](holes))

    @cached_property
    def imports(self) -> list[Import]:
        """The module's imports, less those of the holes."""
        found: list[cst.ImportFrom | cst.Import] = []
        for line in self.module.body:
            for item in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                if isinstance(item, cst.ImportFrom | cst.Import):
                    found.append(item)
        return imports_of(found)


@cache
def template(name: str) -> Template:
    """The template of that name, read once a run."""
    return Template(_source(name))


def _source(name: str) -> str:
    return (TEMPLATES / f"{name}.py").read_text(encoding="utf-8")


@cache
def contract() -> Mapping[str, str]:
    """What each method of a mixer takes, by its name: stated once for all kinds."""
    template = cst.parse_module(_source("contract"))
    methods = (item for item in template.body if isinstance(item, cst.FunctionDef))
    return {method.name.value: template.code_for_node(method.params) for method in methods}


def _contract(method: re.Match[str]) -> str:
    """The head of a method that takes `contract`, with what that stands for."""
    return f"{method[1]}({contract()[method[2]]})"


def _constant(node: cst.CSTNode) -> Fill:
    return lambda holes: node


def _lookup(values: Any, key: str, kind: str) -> Any:
    if key not in values:
        raise HoleError(f"the template wants {kind}.{key}, the plan has {sorted(values)}")
    return values[key]


def _compile(node: cst.CSTNode) -> Fill | None:
    """A function that rebuilds the node for given values, or None where nothing below it is a hole."""
    special = _special(node)
    if special is not None:
        return special
    changes: list[tuple[str, Fill]] = []
    for item in fields(node):
        value = getattr(node, item.name)
        if isinstance(value, cst.CSTNode):
            fill = _compile(value)
            if fill is not None:
                changes.append((item.name, _operand(node, fill)))
        elif isinstance(value, list | tuple):
            fill = _compile_sequence(cast(Sequence[Any], value))
            if fill is not None:
                changes.append((item.name, fill))
    if not changes:
        return None
    return lambda holes: node.with_changes(**{name: fill(holes) for name, fill in changes})


def _role_of(node: cst.CSTNode) -> str | None:
    """The role of `self.role_x`."""
    match node:
        case cst.Attribute(value=cst.Name("self"), attr=cst.Name(name)) if name.startswith("role_"):
            return name.removeprefix("role_")
        case _:
            return None


def _assignment(line: cst.SimpleStatementLine) -> Fill | None:
    """The fill of `self.role_x = ...`, under the comment of that role."""
    match line.body:
        case [cst.Assign(targets=[cst.AssignTarget(target)], value=value)] if role := _role_of(target):
            fill = _compile(value) or _constant(value)
        case _:
            return None

    def filled(holes: Holes) -> cst.CSTNode:
        made = _set(_path(holes, role), fill(holes))
        return _under_comment(line.with_changes(body=[made]), holes.whys.get(role))

    return filled


def _set(path: str, value: cst.BaseExpression) -> cst.BaseSmallStatement:
    """The statement that gives a value to an attribute, or to what lies deeper."""
    if is_name(path):
        return cst.Assign([cst.AssignTarget(cst.Attribute(cst.Name("self"), cst.Name(path)))], value)
    arguments = (expression("self"), expression(repr(path)), value)
    return cst.Expr(cst.Call(cst.Name("place"), [cst.Arg(one) for one in arguments]))


def _path(holes: Holes, role: str) -> str:
    """The path of a role, of names and numbers."""
    path = str(_lookup(holes.roles, role, "roles"))
    if not PATH.fullmatch(path):
        raise HoleError(f"{path!r} is no path of attributes")
    return path


def _under_comment(node: cst.CSTNode, why: str | None) -> cst.CSTNode:
    return node.with_changes(leading_lines=comment_lines(why)) if why else node


def _compile_sequence(items: Sequence[Any]) -> Fill | None:
    fills = [_compile(item) if isinstance(item, cst.CSTNode) else None for item in items]
    if not any(fills):
        return None

    def fill(holes: Holes) -> list[Any]:
        out: list[Any] = []
        for item, one in zip(items, fills, strict=True):
            value = item if one is None else one(holes)
            if isinstance(value, list):
                out.extend(cast(list[Any], value))
            elif value is not OMIT:
                out.append(value)
        last = out[-1] if len(out) < len(items) and out else None
        if isinstance(last, cst.Arg | cst.Param):
            out[-1] = last.with_changes(comma=cst.MaybeSentinel.DEFAULT)  # else black keeps one argument a line
        return out

    return fill


def _operand(parent: cst.CSTNode, fill: Fill) -> Fill:
    """Parenthesises what is filled into a place that binds tighter than it."""
    if not isinstance(parent, TIGHT):
        return fill

    def filled(holes: Holes) -> Any:
        value = fill(holes)
        if isinstance(value, LOOSE) and not value.lpar:
            return value.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        return value

    return filled


def _special(node: cst.CSTNode) -> Fill | None:
    """The fill of a node that is a hole itself."""
    if isinstance(node, cst.Name):
        return _name(node)
    if isinstance(node, cst.Param) and node.name.value.startswith("maybe_"):
        return _parameter(node)
    if role := _role_of(node):
        return lambda holes: expression(member(_path(holes, role)))
    if isinstance(node, cst.Attribute) and (key := _hole_key(node, "hole")):
        return lambda holes: _lookup(holes.exprs, key, "hole")
    if isinstance(node, cst.Arg) and (key := _hole_key(node.value, "hole")):
        return lambda holes: _argument(node, _lookup(holes.exprs, key, "hole"))
    if isinstance(node, cst.If) and (key := _hole_key(node.test, "when")):
        return _choice(node, key)
    if isinstance(node, cst.SimpleStatementLine):
        only = node.body[0]
        if isinstance(only, cst.Expr) and (key := _hole_key(only.value, "stmts")):
            return lambda holes: list(_lookup(holes.stmts, key, "stmts"))
        return _assignment(node)
    if isinstance(node, cst.SimpleString) and node.value.startswith('"""') and PLACEHOLDER.search(node.value):
        return _doc(node)
    return None


def _hole_key(node: cst.CSTNode, kind: str) -> str | None:
    if isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == kind:
        return node.attr.value
    return None


def _name(node: cst.Name) -> Fill | None:
    if node.value.startswith(("Template", "template_")):
        whole, rest = node.value, node.value.removeprefix("Template")
        return lambda holes: node.with_changes(value=ident(holes.names.get(whole, holes.prefix + rest)))
    return None


def _parameter(node: cst.Param) -> Fill:
    key = node.name.value.removeprefix("maybe_")
    named = node.with_changes(name=cst.Name(key))
    return lambda holes: named if _lookup(holes.when, key, "when") else OMIT


def _argument(node: cst.Arg, value: Any) -> Any:
    return OMIT if value is OMIT else node.with_changes(value=value)


def _choice(node: cst.If, key: str) -> Fill:
    chosen = _branch(node.body.body)
    other = _branch(())
    if isinstance(node.orelse, cst.Else):
        other = _branch(node.orelse.body.body)
    elif isinstance(node.orelse, cst.If):
        orelse = node.orelse
        other = _special(orelse) or _constant(orelse)
    return lambda holes: (chosen if _lookup(holes.when, key, "when") else other)(holes)


def _branch(statements: Sequence[cst.CSTNode]) -> Fill:
    """The statements of one branch, filled; compiled when a plan first takes it."""
    compiled = cache(lambda: _compile_sequence(statements) or (lambda holes: list(statements)))
    return lambda holes: compiled()(holes)


def _doc(node: cst.SimpleString) -> Fill:
    text = node.value[3:-3]
    return lambda holes: node.with_changes(
        value=docstring(PLACEHOLDER.sub(lambda match: _lookup(holes.docs, match[1], "docs"), text))
    )
