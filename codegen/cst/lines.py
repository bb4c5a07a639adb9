"""Statements as black takes them: line by line, each with the blank lines before it.

The head of a definition (decorators, name, parameters, docstring) is one line, as is every statement in its body.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import libcst as cst

INDENT = "    "
_EMPTY = cst.Module([])
_PASS = cst.SimpleStatementLine([cst.Pass()])


class Line(NamedTuple):
    """`gap` separates it from the line before; `source` is its code, indented; `filler` ends that without need."""

    gap: str
    source: str
    filler: str = ""


def lines(statements: Sequence[cst.BaseStatement], indentation: str = "", first: str = "") -> Iterator[Line]:
    """The lines of a block, the first of them after the gap `first`."""
    gaps = (_gap(before, node, "\n\n" if indentation else "\n\n\n") for before, node in pairwise(statements))
    for node, gap in zip(statements, (first, *gaps), strict=False):
        if isinstance(node, cst.ClassDef | cst.FunctionDef) and isinstance(node.body, cst.IndentedBlock):
            yield from _definition(node, node.body, indentation, gap)
        else:
            yield Line(gap, _code(node, indentation))


def _gap(before: cst.BaseStatement, node: cst.BaseStatement, wide: str) -> str:
    """Blank lines around definitions; else a blank line where the template has one."""
    if isinstance(before, cst.ClassDef | cst.FunctionDef) or isinstance(node, cst.ClassDef | cst.FunctionDef):
        return wide
    leading: Sequence[cst.EmptyLine] = getattr(node, "leading_lines", ())
    return "\n\n" if leading and leading[0].comment is None else "\n"


def _definition(
    node: cst.ClassDef | cst.FunctionDef, block: cst.IndentedBlock, indentation: str, gap: str
) -> Iterator[Line]:
    """The head, then the body line by line; below the docstring of a class is a blank line."""
    inner = indentation + INDENT
    documented = node.get_docstring(clean=False) is not None
    top = block.body[0] if documented else _PASS
    rest = block.body[1:] if documented else block.body
    head = node.with_changes(body=block.with_changes(body=[top]))
    yield Line(gap, _code(head, indentation), "" if documented else f"\n{inner}pass")
    above = node if isinstance(node, cst.ClassDef) else top
    yield from lines(rest, inner, _gap(above, rest[0], "\n\n") if documented and rest else "\n")


@lru_cache(maxsize=4096)  # by the node: those of a template without holes are the same in all models
def _code(node: cst.BaseStatement, indentation: str) -> str:
    block = cst.IndentedBlock([node], indent=indentation) if indentation else node
    return _EMPTY.code_for_node(block).strip("\n")
