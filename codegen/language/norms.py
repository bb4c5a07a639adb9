"""What a norm is once it has inherited the `norm` section, and what no norm can be."""

from collections.abc import Iterator
from typing import Any

from codegen.configs import ConfigClass
from codegen.language.attention import Norm
from codegen.language.keys import Section, keys
from codegen.language.spec import NormPart, Spec

OF_WEIGHTS = {"offset": "there is no weight to add it to", "weights": "there is no weight"}
Found = Iterator[tuple[tuple[Any, ...], str, str]]


def merged(spec: Spec, own: Norm | None) -> Norm:
    """A norm's own keys over the section that every norm inherits."""
    values = {name: getattr(spec.norm, name) for name in keys(Norm)}
    if own is not None:
        values |= {name: getattr(own, name) for name in keys(Norm) if getattr(own, name) is not None}
    return Norm(**values)


def sites(spec: Spec) -> Iterator[tuple[tuple[Any, ...], Norm | None]]:
    """Where norms get their keys, and which of their own they have there."""
    yield ("norm",), None
    yield from _within(("attention",), spec.attention)
    yield from _within(("mlp",), spec.mlp)
    for name, part in spec.parts.items():
        if isinstance(part, NormPart):
            yield ("parts", name), part
        yield from _within(("parts", name), part)


def _within(path: tuple[Any, ...], section: Section) -> Iterator[tuple[tuple[Any, ...], Norm | None]]:
    """Norms that a part has."""
    for name in keys(type(section)):
        own = getattr(section, name, None)
        if isinstance(own, Norm):
            yield (*path, name), own


def impossible(spec: Spec, _: ConfigClass) -> Found:
    """Biases that nothing would add, what is said of a weight that is not there, and one that comes and goes with the
    config."""
    for path, own in sites(spec):
        norm = merged(spec, own)
        weightless = norm.weight is not None and norm.weight.constant is False
        if norm.weight is not None and norm.weight.constant is ...:
            cure = "write weight: false under `variants`, where the condition stands in `when`"
            yield (*path, "weight"), "a config cannot give a norm its weight or take it", cure
        for key, what in OF_WEIGHTS.items() if weightless else ():
            if getattr(spec.norm if own is None else own, key, None) not in (None, 0, "shared"):
                yield (*path, key), what, "leave it out, or write weight: true"
        if norm.bias is None or norm.bias.constant is False:
            continue
        if weightless or norm.kind in (None, "rmsnorm"):
            what = "a norm without weight" if weightless else "an rmsnorm"
            yield (*path, "bias"), f"{what} has no bias", "write bias: false here, or kind: layernorm with a weight"
