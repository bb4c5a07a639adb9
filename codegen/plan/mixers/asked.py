"""What kinds of mixers may ask of those who ask them: sizes on a config of the tests, tensors of a checkpoint."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from codegen.language.attention import Norm
from codegen.language.keys import Section
from codegen.language.spec import Spec
from codegen.language.values import Expression

Misfits = Iterator[tuple[str, str]]  # path of a key, message


class TinySizes(NamedTuple):
    """Sizes of a mixer on tiny configs."""

    of: tuple[tuple[Section | None, Mapping[str, Any]], ...] = ()  # what keys of sections get where a field holds it
    apart: tuple[tuple[Section | None, Mapping[str, Any]], ...] = ()  # the same in a config of its own, beside `base`
    turned: int | None = None  # the width of what turns, where that is no share of a head


class Numbers(Protocol):
    """Sizes of one layer of one config of the tests; None for what is no whole number."""

    def number(self, section: Section, name: str) -> int | None:
        """What a key says, or its default."""
        ...

    def value(self, one: Expression | None) -> int | None:
        """The value of an expression."""
        ...

    def blocks(self, spec: Spec, parts: set[str], rows: int | None, *, dotted: bool) -> Misfits:
        """Where the blocks of a fused tensor do not divide the rows of each of its parts."""
        ...


class Tensors(Protocol):
    """Names of tensors under one config, as a checkpoint has them."""

    def evaluated(self, one: Expression) -> Any:
        """The value of an expression under the config; None where it cannot be read."""
        ...

    def said(self, section: Section, name: str) -> Any:
        """The value of a key, written or by default. Raises SpecError where the config class has no default for it."""
        ...

    def guessed(self, section: Section, name: str) -> Any:
        """The same, and None where the class has no default."""
        ...

    def flag(self, part: str, role: str) -> bool:
        """Whether the projection of a role has a bias."""
        ...

    def name(self, role: str, part: str) -> str:
        """The path of a role on disk, relative to its part."""
        ...

    def at(self, before: str, role: str, part: str) -> str:
        """The path of a role, whose part begins with `before`; some lie beside their part."""
        ...

    def roles(self, part: str, roles: Iterable[str], before: str) -> Iterator[str]:
        """Weights and biases of projections, alone or within fused tensors."""
        ...

    def norm(self, name: str, own: Norm | None) -> Iterator[str]:
        """Weight and bias of a norm, with its own keys or those of all norms."""
        ...

    def is_fused(self, part: str, role: str) -> bool:
        """Whether a role lies in a tensor with others."""
        ...

    def storage(self) -> str:
        """How experts are stored."""
        ...
