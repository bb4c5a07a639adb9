"""Whether the sizes that a spec says fit together on the configs of its tests: what must divide what."""

from collections.abc import Iterator, Mapping
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import Location, Problem
from codegen.language.keys import Section
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import Fused, Spec
from codegen.language.stored import calls
from codegen.language.values import Expression
from codegen.plan.context import Context
from codegen.plan.equations import called
from codegen.plan.mixers.asked import Misfits
from codegen.plan.mixers.kinds import is_mixer, mixer
from codegen.plan.mixers.projections import section_of
from codegen.tiny.evaluate import UNREADABLE, Unknown, evaluate
from codegen.tiny.values import Config, layers_of, readable

CURE = "write sizes that fit on every config, or give tests.tiny other values"


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


def _late_attention(loaded: LoadedSpec, first: tuple[Any, ...]) -> Misfits:
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

    def misfits(self, spec: Spec) -> Misfits:
        """What does not fit in the mixers that the layer calls."""
        for part in called(spec.block):
            if is_mixer(spec, part):
                yield from mixer(section_of(spec, part)).misfits(self, spec, part)

    def blocks(self, spec: Spec, parts: set[str], rows: int | None, *, dotted: bool) -> Misfits:
        """The blocks of a fused tensor divide the rows of each of its parts."""
        fused: Mapping[str, Fused] = spec.checkpoint.fused or {}
        for name, tensor in fused.items():
            groups = self.value(tensor.groups)
            if set(tensor.parts) == parts and ("." in name) == dotted and rows and groups and rows % groups:
                path = f"checkpoint.fused.{name}"
                yield path, f"{groups} blocks do not divide the {rows} rows of a part on a tests' config"
