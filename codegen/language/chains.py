"""Defaults that name config fields: the class must have one of them, or the spec must say what to take."""

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

from codegen.configs import ConfigClass
from codegen.language import equations
from codegen.language.attention import Softmax
from codegen.language.fields import readable
from codegen.language.keys import Section, keys
from codegen.language.mlp import Experts, Gated, Moe
from codegen.language.spec import Spec
from codegen.language.values import Expression, expression

Found = Iterator[tuple[tuple[Any, ...], str, str]]


@cache
def _trusted(text: str) -> Expression:
    return expression(text)


@lru_cache(maxsize=4096)
def candidate(chain: tuple[str, ...], config: ConfigClass) -> str | None:
    """The first default of a chain whose fields the class has; those that hold None fall through where more follow."""
    found = [text for text in chain if readable(config, _trusted(text))]
    return next((text for text in found if not _is_none(text, config)), found[-1] if found else None)


def _is_none(text: str, config: ConfigClass) -> bool:
    path = text.removeprefix("config.")
    return path != text and path.isidentifier() and config.value(path) is None


def unresolved(spec: Spec, config: ConfigClass) -> Found:
    """Keys that are not written and whose defaults name no field of the class."""
    called = {name for group in equations.GROUPS for name in equations.called_names(getattr(spec, group))}
    yield from _missing(("norm",), spec.norm, config)
    yield from _missing(("head",), spec.head, config)
    yield from _missing(("embedding",), spec.embedding, config)
    for name in ("attention", "mlp"):
        if name in called:
            yield from _missing((name,), getattr(spec, name), config)
    for name, part in spec.parts.items():
        yield from _missing(("parts", name), part, config)
    rotated = "attention" in called and isinstance(spec.attention, Softmax)
    if spec.rope is not None and spec.rope.theta is None and rotated:
        yield from _missing(("rope",), spec.rope, config)


def _missing(path: tuple[Any, ...], section: Section, config: ConfigClass) -> Found:
    inherited = {"activation"} if isinstance(section, Gated) and len(path) > 1 and path[0] == "mlp" else set[str]()
    for name, key in keys(type(section)).items():
        value = getattr(section, name if name != "in" else "in_")
        if value is None and key.chain and name not in inherited and candidate(key.chain, config) is None:
            fields = ", ".join(text.removeprefix("config.") for text in key.chain)
            yield (*path, name), f"is not written, and {config.name} has no {fields}", f"write {name}: ..."
    if isinstance(section, Moe):
        yield from _missing((*path, "experts"), section.experts or Experts(), config)
        if section.shared is not None:
            yield from _missing((*path, "shared"), section.shared, config)
