"""`__init__.py` and, where the spec declares its own config class, `config.py`."""

import ast
from collections.abc import Iterable

import libcst as cst

from codegen.cst.fill import template
from codegen.cst.format import Format
from codegen.cst.holes import Holes, docstring, expression, statement
from codegen.cst.imports import Import
from codegen.plan.types import Code, ConfigPlan, ModelPlan
from codegen.render.code import module


def render_init(model: str, architecture: str, config: ConfigPlan) -> str:
    """The text of `__init__.py`: the class of the module `model`, and the config class where it is generated."""
    names = [Import(model, architecture)]
    if config.fields is not None:
        names.append(Import(config.module, config.class_name))
    exported = ", ".join(sorted(f'"{item.name}"' for item in names))
    text = "\n".join(f"from {item.module} import {item.name}" for item in sorted(names))
    return f"{text}\n\n__all__ = [{exported}]\n"


def render_config(plan: ModelPlan, format_all: Format) -> str:
    """The text of `config.py`."""
    source = template("config")
    holes = Holes(
        names={"TemplateConfig": plan.config.class_name},
        docs={"summary": f"Config of {plan.title} checkpoints; fields and defaults as published."},
        exprs={"model_type": expression(repr(plan.config.model_type))},
        stmts={"fields": fields(plan.config)},
    )
    doc = docstring(f"The config class of {plan.title}, which transformers lacks.")
    return module(plan.places, doc, source.imports, [], [source.fill("TemplateConfig", holes)], format_all)


def fields(config: ConfigPlan) -> list[cst.BaseStatement]:
    """The fields of a config class, and the names that stand for others of them."""
    names = config.attribute_map
    return [*([statement(f"attribute_map = {names}")] if names else []), *declared(config.fields or ())]


def declared(items: Iterable[tuple[str, Code]]) -> list[cst.BaseStatement]:
    """Fields with their defaults."""
    return [statement(f"{name}: {_annotation(value)} = {_default(value)}") for name, value in items]


def _annotation(value: str) -> str:
    """The annotation of a field, from its default."""
    kind = type(ast.literal_eval(value)).__name__
    return "Any" if kind == "NoneType" else kind


def _default(value: str) -> str:
    """The default of a field: config classes are dataclasses, which share no list and no dict."""
    return f"field(default_factory=lambda: {value})" if value.startswith(("[", "{")) else value
