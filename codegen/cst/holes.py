"""What fills the holes of a template. Each value is a syntax node already, so no text can break out of its hole."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum
from functools import lru_cache
from keyword import iskeyword
from textwrap import wrap
from typing import Literal

import libcst as cst

from codegen.errors import CodegenError
from codegen.frozen import Frozen

LINE_LENGTH = 120


class Omitted(Enum):
    """The value of a keyword argument that is left out."""

    OMIT = "omit"


OMIT: Literal[Omitted.OMIT] = Omitted.OMIT
Hole = cst.BaseExpression | Literal[Omitted.OMIT]


class HoleError(CodegenError):
    """A template and the values for its holes do not fit: a defect of the generator, never of a spec."""


class Holes(Frozen):
    """Values for one fill.

    `names` gives whole names (`TemplateConfig`), else `prefix` replaces `Template` in them; `when` decides statements;
    `exprs`, `stmts`, `roles` (attribute names) and `docs` (text for `{key}` in docstrings) fill what their names say;
    `whys` are comments above the lines that give roles their values.
    """

    prefix: str = "Template"
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    when: Mapping[str, bool] = field(default_factory=dict[str, bool])
    exprs: Mapping[str, Hole] = field(default_factory=dict[str, Hole])
    stmts: Mapping[str, Sequence[cst.BaseStatement]] = field(default_factory=dict[str, Sequence[cst.BaseStatement]])
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    docs: Mapping[str, str] = field(default_factory=dict[str, str])
    whys: Mapping[str, str] = field(default_factory=dict[str, str])


def ident(name: str) -> str:
    """The name, refused where it is no plain identifier."""
    if not (name.isascii() and name.isidentifier()) or iskeyword(name):
        raise HoleError(f"{name!r} is no identifier")
    return name


@lru_cache(maxsize=4096)  # nodes are immutable: what is the same in many models is one node
def expression(code: str) -> cst.BaseExpression:
    """One expression; code of the plan comes from `ast.unparse`, so a failure is a defect of the generator."""
    try:
        return cst.parse_expression(code)
    except cst.ParserSyntaxError as error:
        raise HoleError(f"no expression: {code!r}: {error}") from error


@lru_cache(maxsize=4096)
def statement(code: str, why: str | None = None) -> cst.BaseStatement:
    """One statement, under its comment."""
    try:
        parsed = cst.parse_statement(code)
    except cst.ParserSyntaxError as error:
        raise HoleError(f"no statement: {code!r}: {error}") from error
    return parsed.with_changes(leading_lines=comment_lines(why)) if why else parsed


def comment_lines(text: str) -> list[cst.EmptyLine]:
    """Comment lines of a `why`; whatever it says, it stays a comment."""
    words = " ".join(text.split())
    return [cst.EmptyLine(comment=cst.Comment(f"# {line}")) for line in wrap(words, LINE_LENGTH - 12)]


def docstring(text: str) -> str:
    """The literal of a docstring, whatever the text says."""
    clean = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if clean.endswith('"'):
        clean = clean[:-1] + '\\"'
    return f'"""{clean}"""'
