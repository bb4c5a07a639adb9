"""The values of the language: words, expressions over the config, equations over tensors."""

import ast
from dataclasses import field
from functools import lru_cache
from typing import Any

from codegen.errors import Location
from codegen.frozen import Frozen

NOWHERE = Location("<default>", 1, 1)


class Expression(Frozen):
    """An allow-listed expression over `config`, e.g. `config.query_pre_attn_scalar ** -0.5`; a constant is one too.

    Two expressions are equal where their texts are; `text` is `ast.unparse` of the tree, so spelling does not matter.
    """

    text: str
    tree: ast.expr = field(compare=False, repr=False)
    at: Location = field(default=NOWHERE, compare=False, repr=False)

    @property
    def is_none(self) -> bool:
        """Whether this says that the optional thing is absent."""
        return isinstance(self.tree, ast.Constant) and self.tree.value is None

    @property
    def constant(self) -> Any:
        """The value of a constant; `...` where the expression is none."""
        return self.tree.value if isinstance(self.tree, ast.Constant) else ...

    def mentions(self, name: str) -> bool:
        """Whether the free name (`layer`, `position`, `head_dim`, `config`) occurs."""
        return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(self.tree))


class Equation(Frozen):
    """`target = value` over tensors, where calls may be parts, norms and functions."""

    target: str
    text: str
    value: ast.expr = field(compare=False, repr=False)
    at: Location = field(default=NOWHERE, compare=False, repr=False)


@lru_cache(maxsize=4096)
def expression(text: str, at: Location = NOWHERE) -> Expression:
    """An expression from trusted text (defaults of the language); text of a spec goes through `expressions.parse`."""
    tree = ast.parse(text.strip(), mode="eval").body
    return Expression(ast.unparse(tree), tree, at)
