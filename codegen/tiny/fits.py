"""Whether the sizes that a spec says fit together on the configs of its tests: what must divide what."""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import Location, Problem
from codegen.language.attention import Gqa
from codegen.language.keys import Section
from codegen.language.loaded import LoadedSpec
from codegen.language.mlp import Gated, Moe, Plain
from codegen.language.spec import Fused, Spec
from codegen.language.stored import calls
from codegen.language.values import Expression
from codegen.plan.context import Context
from codegen.plan.mixers.moe import experts, router
from codegen.tiny.evaluate import UNREADABLE, Unknown, evaluate
from codegen.tiny.values import Config, layers_of, readable

CURE = "write sizes that fit on every config, or give tests.tiny other values"
Found = Iterator[tuple[str, str]]  # path of a key, message


def problems(loaded: LoadedSpec, config: ConfigClass, configs: Mapping[str, Config]) -> Iterator[Problem]:
    """Sizes that do not fit, each place once."""
    context = Context(loaded, config, loaded.flat)
    found: dict[tuple[str, Location], Problem] = {}
    for values in configs.values():
        fields = readable(config, values)
        for layer in range(layers_of(config, values)):
            key = _outcomes(loaded, fields, layer)
            if key in loaded.flat:
                sizes = _Sizes(context, fields, layer)
                late = _late_attention(loaded, key) if layer == 0 else iter(())
                for path, message in (*late, *sizes.misfits(loaded.flat[key])):
                    at = loaded.place(path, [key])
                    found.setdefault((path, at), Problem(at, path, message, CURE))
    return iter(found.values())


def _late_attention(loaded: LoadedSpec, first: tuple[Any, ...]) -> Found:
    """Caches count the past by the first layer."""
    if not calls(loaded.flat[first], "attention") and any(calls(one, "attention") for one in loaded.flat.values()):
        yield "block", "layer 0 of a tests' config calls no attention, and others do: caches count the past there"


def _outcomes(loaded: LoadedSpec, fields: Mapping[str, Any], layer: int) -> tuple[Any, ...]:
    found: list[Any] = []
    for split in loaded.splits:
        try:
            value = evaluate(split.condition.tree, fields, layer=layer)
        except (Unknown, *UNREADABLE):
            value = None
        found.append(value if split.by else bool(value))
    return tuple(found) if all(isinstance(one, str | int | bool | None) for one in found) else ()


class _Sizes:
    """The numbers of one layer of one config."""

    def __init__(self, context: Context, fields: Mapping[str, Any], layer: int) -> None:
        self.context, self.fields, self.layer = context, fields, layer

    def number(self, section: Section, name: str) -> int | None:
        """What a key says, or its default; None where it is no whole number."""
        return self.value(self.context.value(section, name))

    def value(self, one: Expression | None) -> int | None:
        try:
            found = None if one is None else evaluate(one.tree, self.fields, layer=self.layer)
        except (Unknown, *UNREADABLE):
            return None
        return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None

    def misfits(self, spec: Spec) -> Found:
        if isinstance(spec.attention, Gqa) and calls(spec, "attention"):
            yield from self.heads(spec, spec.attention)
        if calls(spec, "mlp"):
            if isinstance(spec.mlp, Moe):
                yield from self.experts(spec)
            elif isinstance(spec.mlp, Gated) and not isinstance(spec.mlp, Plain):
                yield from self.blocks(spec, {"gate", "up"}, self.number(spec.mlp, "width"), dotted=False)

    def heads(self, spec: Spec, attention: Gqa) -> Found:
        heads, kv_heads = self.number(attention, "heads"), self.number(attention, "kv_heads")
        width = self.number(attention, "head_dim")
        if heads and kv_heads and heads % kv_heads:
            yield "attention.kv_heads", f"{kv_heads} do not divide the {heads} query heads of a tests' config"
        for rows in (heads and width and heads * width, kv_heads and width and kv_heads * width):
            yield from self.blocks(spec, {"q", "k", "v"}, rows, dotted=False)

    def experts(self, spec: Spec) -> Found:
        count, top_k = self.number(experts(spec), "count"), self.number(experts(spec), "top_k")
        if count and top_k and top_k > count:
            yield "mlp.experts.top_k", f"{top_k} are more than the {count} experts of a tests' config"
        groups = router(spec).groups
        number = None if groups is None else self.value(groups.count)
        keep = None if groups is None else self.value(groups.keep)
        if count and number and count % number:
            yield "mlp.router.groups.count", f"{number} do not divide the {count} experts of a tests' config"
        if number and number > 1 and keep and keep > number:
            yield "mlp.router.groups.keep", f"{keep} are more than the {number} groups of a tests' config"
        yield from self.blocks(spec, {"gate", "up"}, self.number(experts(spec), "width"), dotted=True)

    def blocks(self, spec: Spec, parts: set[str], rows: int | None, *, dotted: bool) -> Found:
        """The blocks of a fused tensor divide the rows of each of its parts."""
        fused: Mapping[str, Fused] = spec.checkpoint.fused or {}
        for name, tensor in fused.items():
            groups = self.value(tensor.groups)
            if set(tensor.parts) == parts and ("." in name) == dotted and rows and groups and rows % groups:
                path = f"checkpoint.fused.{name}"
                yield path, f"{groups} blocks do not divide the {rows} rows of a part on a tests' config"
