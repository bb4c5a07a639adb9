"""Modules from statements: formatted by black one top-level statement at a time, remembered by content.

The result equals black on the whole file (a test holds that); one changed class then costs one class.
"""

import ast
from collections.abc import Callable, Iterable, Sequence

import libcst as cst

from codegen.cst.holes import HoleError
from codegen.cst.imports import Import, import_block, used
from codegen.memory.formatter import black_format

HOLES = ("hole", "when", "stmts")
Format = Callable[[str, Callable[[str], str]], str]
_EMPTY = cst.Module([])


def statement_code(node: cst.BaseStatement) -> str:
    return _EMPTY.code_for_node(node).strip("\n") + "\n"


def module_text(
    doc: str, imports: Iterable[Import], statements: Sequence[cst.BaseStatement], format_one: Format
) -> str:
    """A module: docstring, the imports it uses, then its statements, formatted and verified."""
    sources = [statement_code(node) for node in statements]
    pieces = [format_one(source, black_format).strip("\n") for source in sources]
    definitions = [isinstance(node, cst.BaseCompoundStatement) for node in statements]
    body = _joined(pieces, definitions)
    tree = ast.parse(body)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    _verify(names, tree, statements)
    block = import_block(used(imports, names))
    formatted = format_one(block + "\n", black_format).strip("\n") if block else ""
    head = f"{doc}\n\n{formatted}" if doc and formatted else doc or formatted
    gap = "\n\n\n" if definitions and definitions[0] else "\n\n"
    text = f"{head}{gap}{body}\n" if body else f"{head}\n"
    compile(text, "<generated>", "exec")
    return text


def _joined(pieces: Sequence[str], definitions: Sequence[bool]) -> str:
    """Two blank lines around definitions, none between simple statements that follow each other."""
    text = ""
    for index, piece in enumerate(pieces):
        if index:
            text += "\n\n\n" if definitions[index] or definitions[index - 1] else "\n"
        text += piece
    return text


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
