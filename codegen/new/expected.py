"""The tensors that a spec expects in a layer and around it, for a given config: what a checkpoint is compared with."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.language.attention import Norm
from codegen.language.disk import within
from codegen.language.keys import Section
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import Linear, NormPart, Sinusoid, Spec
from codegen.language.values import Expression
from codegen.new.values import Values
from codegen.plan.context import Context
from codegen.plan.equations import called
from codegen.plan.mixers.kinds import is_mixer, mixer
from codegen.plan.mixers.projections import OWN, flag, fused_of, part_of
from codegen.plan.names import disk_name, stored_name
from codegen.tiny.mentions import fields_of


class Expected(Frozen):
    """Names as in `Weights`; a name that ends with `.` stands for all below it."""

    model: str
    layers: str
    inside: frozenset[str]
    around: frozenset[str]
    top: frozenset[str]
    tied: frozenset[str]  # names that may be missing
    dropped: tuple[str, ...]  # patterns of tensors that are left out


def expect(loaded: LoadedSpec, values: Values) -> Expected:
    """What the spec expects under the config's values."""
    context = Context(loaded, values.config, loaded.flat)
    specs = _taken(loaded, values)
    base = specs[0]
    inside = {name for spec in specs for name in _Layer(context, spec, values).names()}
    around, top = set[str](), set[str]()
    head = disk_name(base, "head")
    for spec in specs:
        for name in called(spec.input):
            around |= _outside(spec, name, spec.input[0].text, values)
        for name in called(spec.output):
            if name == head:
                bias = spec.head.bias
                top |= {f"{head}.weight"} | ({f"{head}.bias"} if bias and values.evaluated(bias) else set())
            elif _is_beside(spec, name, values):
                top |= _outside(spec, name, "", values)
            else:
                around |= _outside(spec, name, "", values)
    tied = frozenset({f"{head}.weight"} if values.get("tie_word_embeddings") else ())
    model, layers = disk_name(base, "model"), disk_name(base, "layers")
    dropped = tuple(drop.match for drop in base.checkpoint.drop or ())
    return Expected(model, layers, frozenset(inside), frozenset(around), frozenset(top), tied, dropped)


def _taken(loaded: LoadedSpec, values: Values) -> list[Spec]:
    """The flat specs of this config's layers; where its conditions cannot be read, what `layers` lays on."""
    found: dict[tuple[object, ...], Spec] = {}
    for layer in range(_number_of_layers(loaded, values)):
        outcome: list[object] = []
        for split in loaded.splits:
            value = values.evaluated(split.condition, layer)
            outcome.append(value if split.by else bool(value))
        key = tuple(outcome)
        if key in loaded.flat:
            found[key] = loaded.flat[key]
    return list(found.values()) or list(loaded.outer.values())


def _number_of_layers(loaded: LoadedSpec, values: Values) -> int:
    """What the config says, or where it says nothing, as long as the list is that a schedule reads."""
    number = values.get("num_hidden_layers")
    if isinstance(number, int) and 0 < number <= 1000:
        return number
    read: list[Any] = [values.get(name) for split in loaded.splits for name in fields_of(split.condition.tree)]
    return max((len(cast("list[Any]", one)) for one in read if isinstance(one, list)), default=1)


def _is_beside(spec: Spec, name: str, values: Values) -> bool:
    """Whether a part is stored beside the base model."""
    part = (spec.parts or {}).get(name)
    return isinstance(part, Linear | NormPart) and part.top is not None and bool(values.evaluated(part.top))


def _outside(spec: Spec, name: str, embeds: str, values: Values) -> set[str]:
    """An embedding, a norm or a part around the layers."""
    if f"{name}(ids)" in embeds or f"{name}(positions" in embeds:
        part = (spec.parts or {}).get(name)
        return set() if part is not None else {f"{stored_name(spec, name)}.weight"}
    return set(_called(spec, name, values))


def _called(spec: Spec, name: str, values: Values) -> Iterator[str]:
    part, name = (spec.parts or {}).get(name), stored_name(spec, name)
    if isinstance(part, Linear) and part.when is not None and not values.evaluated(part.when):
        return
    if isinstance(part, Linear):
        yield f"{name}.weight"
        if part.bias is not None and values.evaluated(part.bias):
            yield f"{name}.bias"
    elif part is not None and not isinstance(part, Norm):
        yield f"{name}."
    else:
        yield from norm_names(name, part if isinstance(part, Norm) else spec.norm, spec.norm, values)


def norm_names(name: str, norm: Norm, base: Norm, values: Values) -> Iterator[str]:
    """Weight and bias of a norm; what it does not say it inherits."""
    kind = norm.kind or base.kind or "rmsnorm"
    weight, bias = norm.weight or base.weight, norm.bias or base.bias
    has_weight = weight is None or bool(values.evaluated(weight))
    if has_weight:
        yield f"{name}.weight"
    if bool(values.evaluated(bias)) if bias is not None else kind == "layernorm" and has_weight:
        yield f"{name}.bias"


class _Layer(Frozen):
    """The tensors of one flat spec's layer: what its mixers ask for."""

    context: Context
    spec: Spec
    values: Values

    def names(self) -> Iterator[str]:
        """All of them."""
        for name in called(self.spec.block):
            section = part_of(self.spec, name)
            if section is None or isinstance(section, Linear | Norm | Sinusoid):
                yield from _called(self.spec, name, self.values)
            elif name in OWN and is_mixer(self.spec, name):
                yield from mixer(section).tensors(self, section, name, self.path(name))
            else:
                yield self.path(name) or "."

    def path(self, part: str) -> str:
        stored = disk_name(self.spec, part)
        return f"{stored}." if stored else ""

    def evaluated(self, one: Expression) -> Any:
        """The value of an expression; None where it cannot be read."""
        return self.values.evaluated(one)

    def said(self, section: Section, name: str) -> Any:
        """The value of a key, written or by default. Raises SpecError where the config class has no default for it."""
        return self.values.evaluated(self.context.value(section, name))

    def guessed(self, section: Section, name: str) -> Any:
        """The same, and None where the class has no default."""
        try:
            return self.said(section, name)
        except SpecError:
            return None

    def flag(self, part: str, role: str) -> bool:
        """Whether the projection of a role has a bias."""
        try:
            return bool(self.values.evaluated(flag(self.context, self.spec, part, role)))
        except SpecError:
            return False

    def name(self, role: str, part: str) -> str:
        """The path of a role, relative to its part."""
        return disk_name(self.spec, role, part)

    def at(self, before: str, role: str, part: str) -> str:
        """The path of a role, whose part begins with `before`."""
        return within(before.removesuffix("."), disk_name(self.spec, role, part))

    def roles(self, part: str, roles: Iterable[str], before: str) -> Iterator[str]:
        """Weights and biases of projections, alone or within fused tensors."""
        for role in roles:
            fused = fused_of(self.spec, part, role)
            name = f"{before}{fused[0]}" if fused else self.at(before, role, part)
            yield f"{name}.weight"
            yield from (f"{before}{one}.weight" for one in self.before_last(part, role))
            if self.flag(part, role):
                renamed = f"{role}_bias" in (self.spec.checkpoint.names or {})
                yield self.at(before, f"{role}_bias", part) if renamed else f"{name}.bias"

    def before_last(self, part: str, role: str) -> list[str]:
        """The maps of a role that is several in a row, but the last."""
        names = self.spec.checkpoint.names or {}
        written = names.get(f"{part}.{role}", names.get(role))
        return [] if written is None or isinstance(written, str) else [*written][:-1]

    def norm(self, name: str, own: Norm | None) -> Iterator[str]:
        """Weight and bias of a norm."""
        return norm_names(name, own or self.spec.norm, self.spec.norm, self.values)

    def is_fused(self, part: str, role: str) -> bool:
        """Whether a role lies in a tensor with others."""
        return fused_of(self.spec, part, role) is not None

    def storage(self) -> str:
        """How experts are stored."""
        return self.spec.checkpoint.experts or "per_expert"
