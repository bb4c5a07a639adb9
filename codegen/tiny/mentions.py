"""Which fields of the config a spec reads, and what for."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, cast

from codegen.configs import ConfigClass
from codegen.frozen import Frozen
from codegen.language.expressions import newer_paths
from codegen.language.keys import Key, Section, keys
from codegen.language.loaded import LoadedSpec
from codegen.language.values import Equation, Expression, expression
from codegen.plan.names import GROUPS

EQUATION, CONDITION, SCHEDULE = "equation", "condition", "schedule"
_ROLES = {"softcap": "softcap", "act": "activation"}  # of the second argument of functions


class Mention(Frozen):
    """A field, and its role: the key that reads it (`eps`, `window`), or where it stands outside of any key.

    inner: the rest of the path, of a field inside a field.
    """

    field: str
    role: str
    inner: str = ""


def mentions(loaded: LoadedSpec, config: ConfigClass) -> list[Mention]:
    """Every field that some layer or variant reads, once for each role, in the order of the language."""
    found: dict[Mention, None] = {}
    for split in loaded.splits:
        for name in fields_of(split.condition.tree):
            found[Mention(name, SCHEDULE if split.by else CONDITION)] = None
    for spec in loaded.flat.values():
        found.update(dict.fromkeys(_of_section(spec, config)))
    return [replace(mention, field=config.field_name(mention.field)) for mention in found]


def expressions(loaded: LoadedSpec) -> list[ast.expr]:
    """Every expression that is written in a section of some flat spec, once."""
    found: dict[str, ast.expr] = {}

    def walk(value: Any) -> None:
        if isinstance(value, Expression):
            found.setdefault(value.text, value.tree)
        elif isinstance(value, Section):
            for item in fields(value):
                walk(getattr(value, item.name))
        elif isinstance(value, Mapping):
            for entry in cast(Mapping[str, Any], value).values():
                walk(entry)

    for flat in loaded.flat.values():
        walk(flat)
    return list(found.values())


def with_newer(config: ConfigClass, loaded: LoadedSpec) -> ConfigClass:
    """The class with the fields that the spec reads by `newer`, as newer releases of transformers have it."""
    read = {name for tree in expressions(loaded) for name in newer_paths(tree)} if config.newer else set[str]()
    found = {name: value for name, value in config.newer.items() if name in read}
    return replace(config, fields={**config.fields, **found}) if found else config


@lru_cache(maxsize=4096)
def fields_of(tree: ast.AST) -> tuple[str, ...]:
    """The names x of every `config.x` in a tree."""
    return tuple(
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "config"
    )


@lru_cache(maxsize=4096)
def inner_of(tree: ast.AST) -> dict[str, list[str]]:
    """For every `config.x.y` in a tree, the names y by x."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            for name in fields_of(node.value):
                found.setdefault(name, []).append(node.attr)
    return found


def _of_section(section: Section, config: ConfigClass) -> Iterator[Mention]:
    for name, key in keys(type(section)).items():
        attribute = name if hasattr(section, name) else f"{name}_"
        yield from _of_value(getattr(section, attribute), name, key, config)


def _of_value(value: Any, role: str, key: Key, config: ConfigClass) -> Iterator[Mention]:
    if value is None:
        value = _default(key, config)
    if isinstance(value, Expression):
        inner = inner_of(value.tree)
        yield from (Mention(name, role, path) for name in fields_of(value.tree) for path in inner.get(name, [""]))
    elif isinstance(value, Equation):
        yield from _of_equation(value)
    elif isinstance(value, Section):
        yield from _of_section(value, config)
    elif isinstance(value, Mapping):
        written = cast(Mapping[str, Any], value)
        for entry in (*written.values(), None if _names_all(written, key) else _default(key, config)):
            if entry is not None:
                yield from _of_value(entry, role, key, config)
    elif isinstance(value, tuple):
        for entry in cast(tuple[Any, ...], value):
            yield from _of_value(entry, role, key, config)


def _names_all(written: Mapping[str, Any], key: Key) -> bool:
    """Whether no role of a mapping is left to its default."""
    named = {role for name in written for role in (name, *GROUPS.get(name, ()))}
    return "*" in named or named >= set(key.words) - set(GROUPS)


def _default(key: Key, config: ConfigClass) -> Expression | None:
    """The first of the key's defaults whose fields the class has."""
    for text in key.chain:
        candidate = expression(text)
        if all(config.has(name) and config.value(name) is not None for name in fields_of(candidate.tree)):
            return candidate
    return None


def _of_equation(equation: Equation) -> Iterator[Mention]:
    """Fields in an equation; the second argument of `softcap` is a cap, and of `act` an activation."""
    roles: dict[str, str] = {}
    for node in ast.walk(equation.value):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ROLES:
            roles |= {name: _ROLES[node.func.id] for argument in node.args[1:] for name in fields_of(argument)}
    for name in fields_of(equation.value):
        yield Mention(name, roles.get(name, EQUATION))
