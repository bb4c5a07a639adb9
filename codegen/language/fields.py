"""Config fields that a spec mentions: those that the config class lacks are errors, explicit values get no grace."""

import ast
from collections.abc import Iterator
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import Problem, cut
from codegen.language import equations, expressions
from codegen.language.keys import Key, element
from codegen.language.load import Node
from codegen.language.suggest import cure
from codegen.language.values import Expression


def trees(key: Key, node: Node) -> Iterator[tuple[ast.expr, Node]]:
    """The expressions and equations that a checked key holds, with the nodes that they stand in."""
    if key.type == "equations":
        for item in node.items or ():
            yield equations.parse(item.value).value, item
    elif key.type == "fused":
        for stored in (node.mapping or {}).values():
            if stored.mapping and "groups" in stored.mapping:
                yield _tree(Key("expression", ""), stored.mapping["groups"]), stored.mapping["groups"]
    elif key.type == "mapping" and key.words:
        for child in (node.mapping or {}).values():
            yield _tree(element(key), child), child
    elif key.type in ("tensor", "tensors", "projection"):
        yield from _of_tensors(key, node)
    elif key.type == "expression" or (key.type == "choice" and _is_expression(node.value)):
        yield _tree(key, node), node


def _of_tensors(key: Key, node: Node) -> Iterator[tuple[ast.expr, Node]]:
    from codegen.language.vision.equations import parse_projected
    from codegen.language.vision.tensors import parse_tensor

    many = (
        node.items
        if node.items is not None
        else tuple((node.mapping if node.mapping is not None else {"": node}).values())
    )
    for child in many:
        if key.type == "projection":
            yield parse_projected(child.value).value, child
        else:
            yield parse_tensor(child.value, names=key.names).tree, child


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and "config." in value


def _tree(key: Key, node: Node) -> ast.expr:
    return expressions.parse(node.value, names=(*expressions.NAMES, *key.names), words=key.words).tree


def lacking(config: ConfigClass | None, key: Key, node: Node, path: str) -> Iterator[Problem]:
    """The fields that a key mentions and the config class lacks."""
    if config is not None:
        for tree, child in trees(key, node):
            yield from missing(config, tree, child, path)


def missing(config: ConfigClass, tree: ast.expr, node: Node, path: str) -> Iterator[Problem]:
    guarded, carried = expressions.newer_paths(tree), expressions.given_paths(tree)
    for name in expressions.config_paths(tree):
        if name in carried and name in config.published:
            continue
        if name in guarded | carried and config.has(name):
            yield Problem(node.at, path, f"every release has the field '{name}'", f"write config.{name}")
        elif name in config.newer and name not in guarded:
            message = f"only newer releases of transformers have the field '{name}'"
            yield Problem(node.at, path, message, f"write newer(config.{name}, <what the older ones do>)")
        elif not config.has(name) and name not in config.newer:
            known = config.names()
            message = f"{config.name or 'the config'} has no field '{cut(name)}'"
            yield Problem(node.at, path, message, cure(name, known, "fields"))


def readable(config: ConfigClass, expression: Expression) -> bool:
    """Whether the config class has every field that an expression reads."""
    return all(config.has(name) for name in expressions.config_paths(expression.tree))
