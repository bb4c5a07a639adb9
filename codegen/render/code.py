"""Code of a plan as syntax nodes, and these as the text of a module."""

from collections.abc import Iterable, Sequence

import libcst as cst

from codegen.cst.format import Format, module_text
from codegen.cst.holes import OMIT, Hole, expression, statement
from codegen.cst.imports import Import
from codegen.members import assigned
from codegen.places import Places
from codegen.plan.types import Assign


def code(text: str | None) -> Hole:
    """The expression, or nothing."""
    return OMIT if text is None else expression(text)


def assigns(items: tuple[Assign, ...]) -> list[cst.BaseStatement]:
    return [statement(assigned(item.name, item.code), item.why) for item in items]


def flags(items: tuple[Assign, ...]) -> list[cst.BaseStatement]:
    return [statement(f"{item.name} = {item.code}", item.why) for item in items]


def module(
    places: Places,
    doc: str,
    library: Iterable[Import],
    own: Iterable[Import],
    statements: Sequence[cst.BaseStatement],
    format_all: Format,
) -> str:
    """The text of a module of a model. library: imports of templates, from the library as it is called there; own: of
    what the tree has, or transformers."""
    imports = [Import(places.of_library(one.module), one.name, one.alias) for one in library]
    return module_text(doc, [*imports, *own], statements, format_all, places.first_party)
