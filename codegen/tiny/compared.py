"""Values that expressions compare fields with."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from codegen.configs import ConfigClass
from codegen.tiny.mentions import fields_of, inner_of

Config = dict[str, Any]


def compared(trees: Iterable[ast.expr], config: ConfigClass, base: Config) -> list[Config]:
    """Values with which fields are compared, outside of conditions: there the expression changes."""
    found: list[Config] = []
    for change in (change for tree in trees for change in equal(tree, config, base)):
        if base | change != base and change not in found:
            found.append(change)
    return found


def equal(tree: ast.expr, config: ConfigClass, base: Config) -> Iterator[Config]:
    """For each comparison with a constant or another field, what makes both sides equal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.comparators[0], ast.Constant | ast.Attribute):
            names, value = fields_of(node.left), _other_side(node.comparators[0], config, base)
            change = {config.field_name(names[0]): value} if names and value is not None else {}
            for outer, parts in inner_of(node.left).items():
                change = {outer: {**base.get(outer, {}), parts[0]: value}}
            if change:
                yield change


def _other_side(side: ast.expr, config: ConfigClass, base: Mapping[str, Any]) -> Any:
    """What a field is compared with: a constant, or what another field of the config holds."""
    names = fields_of(side)
    return base.get(config.field_name(names[0])) if names else getattr(side, "value", None)
