"""Modules from statements: formatted by black line by line, each remembered by content.

The result equals black on the whole file (a test holds that); one changed line then costs one line, and what recurs in
many models is formatted once.
"""

import ast
from collections.abc import Callable, Container, Iterable, Sequence

import libcst as cst

from codegen.cst.holes import HoleError
from codegen.cst.imports import Import, import_block, used
from codegen.cst.lines import lines
from codegen.memory.formatter import Formatting, black_format

HOLES = ("hole", "when", "stmts")
Format = Callable[[Sequence[str], Formatting], list[str]]


def module_text(
    doc: str,
    imports: Iterable[Import],
    statements: Sequence[cst.BaseStatement],
    format_all: Format,
    first_party: Container[str] = (),
) -> str:
    """A module: docstring, the imports it uses, then its statements, formatted and verified.

    first_party: packages whose imports stand last.
    """
    body = body_text(statements, format_all)
    tree = ast.parse(body)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    _verify(names, tree, statements)
    block = import_block(used(imports, names), first_party)
    formatted = format_all([block], black_format)[0] if block else ""
    head = f"{doc}\n\n{formatted}" if doc and formatted else doc or formatted
    gap = "\n\n\n" if statements and isinstance(statements[0], cst.BaseCompoundStatement) else "\n\n"
    text = f"{head}{gap}{body}\n" if body else f"{head}\n"
    compile(text, "<generated>", "exec")
    return text


def body_text(statements: Sequence[cst.BaseStatement], format_all: Format) -> str:
    """The statements as text, line by line."""
    parts = list(lines(statements))
    texts = format_all([part.source for part in parts], black_format)
    return "".join(part.gap + text.removesuffix(part.filler) for part, text in zip(parts, texts, strict=True))


def _verify(names: set[str], tree: ast.Module, statements: Sequence[cst.BaseStatement]) -> None:
    """No hole is left, and the text says what the syntax tree said."""
    left = {name for name in names if name in HOLES or name.startswith(("Template", "template_", "role_"))}
    if left:
        raise HoleError(f"holes are left: {sorted(left)}")
    expected = [_skeleton(node) for node in statements]
    found = [_ast_skeleton(node) for node in tree.body]
    if expected != found:
        raise HoleError(f"the text differs from the plan: {found} instead of {expected}")


def _skeleton(node: cst.CSTNode) -> tuple[str, ...]:
    if isinstance(node, cst.ClassDef | cst.FunctionDef):
        return (node.name.value, *(name for item in node.body.body for name in _skeleton(item)))
    return ()


def _ast_skeleton(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return (node.name, *(name for item in node.body for name in _ast_skeleton(item)))
    return ()
