"""The tensors that a spec expects in a layer and around it, for a given config: what a checkpoint is compared with."""

from collections.abc import Iterator

from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.language.attention import Gqa, Mla, Norm, QKNorm, Softmax
from codegen.language.disk import within
from codegen.language.loaded import LoadedSpec
from codegen.language.mlp import Gated, Moe, Plain
from codegen.language.spec import Linear, Spec
from codegen.new.values import Values
from codegen.plan.context import Context
from codegen.plan.equations import called
from codegen.plan.mixers.projections import flag, fused_of
from codegen.plan.names import disk_name, stored_name


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
            else:
                around |= _outside(spec, name, "", values)
    tied = frozenset({f"{head}.weight"} if values.get("tie_word_embeddings") else ())
    model, layers = disk_name(base, "model"), disk_name(base, "layers")
    dropped = tuple(drop.match for drop in base.checkpoint.drop or ())
    return Expected(model, layers, frozenset(inside), frozenset(around), frozenset(top), tied, dropped)


def _taken(loaded: LoadedSpec, values: Values) -> list[Spec]:
    """The flat specs of this config's layers; all of them where its conditions cannot be read."""
    number = values.get("num_hidden_layers")
    found: dict[tuple[object, ...], Spec] = {}
    for layer in range(number if isinstance(number, int) and 0 < number <= 1000 else 1):
        outcome: list[object] = []
        for split in loaded.splits:
            value = values.evaluated(split.condition, layer)
            outcome.append(value if split.by else bool(value))
        key = tuple(outcome)
        if key in loaded.flat:
            found[key] = loaded.flat[key]
    return list(found.values()) or list(loaded.flat.values())


def _outside(spec: Spec, name: str, embeds: str, values: Values) -> set[str]:
    """An embedding, a norm or a part around the layers."""
    if f"{name}(ids)" in embeds or f"{name}(positions" in embeds:
        part = (spec.parts or {}).get(name)
        return set() if part is not None else {f"{stored_name(spec, name)}.weight"}
    return set(_called(spec, name, values))


def _called(spec: Spec, name: str, values: Values) -> Iterator[str]:
    part, name = (spec.parts or {}).get(name), stored_name(spec, name)
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
    """The tensors of one flat spec's layer."""

    context: Context
    spec: Spec
    values: Values

    def names(self) -> Iterator[str]:
        for name in called(self.spec.block):
            if name == "attention":
                yield from self.attention(self.path("attention"))
            elif name == "mlp":
                yield from self.mlp(self.path("mlp"))
            else:
                yield from _called(self.spec, name, self.values)

    def path(self, part: str) -> str:
        stored = disk_name(self.spec, part)
        return f"{stored}." if stored else ""

    def at(self, before: str, role: str, part: str) -> str:
        """The path of a role, whose part begins with `before`."""
        return within(before.removesuffix("."), disk_name(self.spec, role, part))

    def role(self, part: str, role: str, before: str) -> Iterator[str]:
        """A projection's weight and bias, alone or within a fused tensor."""
        fused = fused_of(self.spec, part, role)
        name = f"{before}{fused[0]}" if fused else self.at(before, role, part)
        yield f"{name}.weight"
        if self.flag(part, role):
            yield (self.at(before, f"{role}_bias", part) if self.renamed(role) else f"{name}.bias")

    def renamed(self, role: str) -> bool:
        return f"{role}_bias" in (self.spec.checkpoint.names or {})

    def flag(self, part: str, role: str) -> bool:
        try:
            return bool(self.values.evaluated(flag(self.context, self.spec, part, role)))
        except SpecError:
            return False

    def attention(self, before: str) -> Iterator[str]:
        section = self.spec.attention
        if isinstance(section, Mla):
            yield from self.latent(section, before)
        elif isinstance(section, Gqa):
            for role in ("q", "k", "v", "out"):
                yield from self.role("attention", role, before)
            yield from self.gate(section, before)
            if section.sinks is not None and self.values.evaluated(section.sinks):
                yield self.at(before, "sinks", "attention")
            if section.inner_norm is not None:
                yield from norm_names(before + section.inner_norm, self.spec.norm, self.spec.norm, self.values)
            yield from self.qk_norm(section.qk_norm, before)
        else:
            yield before or "."

    def gate(self, section: Softmax, before: str) -> Iterator[str]:
        if section.gate is not None and not fused_of(self.spec, "attention", "out_gate"):
            yield f"{self.at(before, 'out_gate', 'attention')}.weight"
        if section.gate is not None and section.gate.has_head_bias:
            yield self.at(before, "out_gate_bias", "attention")

    def qk_norm(self, norm: QKNorm | None, before: str) -> Iterator[str]:
        if norm is None or (norm.when is not None and not self.values.evaluated(norm.when)):
            return
        inner = ".norms.*" if norm.weights == "modules" else ""
        for role in ("q_norm", "k_norm"):
            name = f"{self.at(before, role, 'attention')}{inner}"
            yield from norm_names(name, norm, self.spec.norm, self.values)

    def latent(self, section: Mla, before: str) -> Iterator[str]:
        rank = section.q_rank if section.q_rank is not None else self.context.default(Mla, "q_rank")
        low = self.values.evaluated(rank) is not None
        for role in ("q_a", "q_b", "kv_a", "kv_b", "out") if low else ("q", "kv_a", "kv_b", "out"):
            yield f"{self.at(before, role, 'attention')}.weight"
            if role in ("q_a", "kv_a", "out") and self.flag("attention", role):
                yield f"{self.at(before, role, 'attention')}.bias"
        yield from self.gate(section, before)
        for role in ("q_a_norm", "kv_a_norm") if low else ("kv_a_norm",):
            yield f"{self.at(before, role, 'attention')}.weight"

    def mlp(self, before: str) -> Iterator[str]:
        section = self.spec.mlp
        if isinstance(section, Moe):
            yield from self.experts(section, before)
        else:
            for role in ("up", "down") if isinstance(section, Plain) else ("gate", "up", "down"):
                yield from self.role("mlp", role, before)
            if isinstance(section, Gated) and self.activation(section) == "xielu":
                yield f"{self.at(before, 'activation', 'mlp')}."  # it learns parameters
            inner = section.inner_norm if isinstance(section, Gated) else None
            if inner is not None:
                yield from norm_names(before + inner, self.spec.norm, self.spec.norm, self.values)

    def activation(self, section: Gated) -> object:
        try:
            return self.values.evaluated(self.context.value(section, "activation"))
        except SpecError:
            return None

    def experts(self, moe: Moe, before: str) -> Iterator[str]:
        yield f"{self.at(before, 'router', 'mlp')}.weight"
        router = moe.router
        if router is not None and router.bias is not None and self.values.evaluated(router.bias):
            yield f"{self.at(before, 'router', 'mlp')}.bias"
        if router is not None and router.correction_bias is not None and self.values.evaluated(router.correction_bias):
            yield self.at(before, "correction_bias", "mlp")
        yield from self.routed(moe, before)
        if moe.shared is not None and (moe.shared.when is None or self.values.evaluated(moe.shared.when)):
            path = self.at(before, "shared", "mlp")
            for role in ("up", "down") if moe.shared.kind == "plain" else ("gate", "up", "down"):
                yield f"{path}.{disk_name(self.spec, role, 'shared')}.weight"
            if moe.shared.gate == "sigmoid":
                yield f"{self.at(before, 'shared_gate', 'mlp')}.weight"

    def routed(self, moe: Moe, before: str) -> Iterator[str]:
        experts = disk_name(self.spec, "experts", "mlp")
        path = f"{before}{experts}." if experts else before
        if (self.spec.checkpoint.experts or "per_expert") == "per_expert":
            plain = moe.experts is not None and moe.experts.kind == "plain"
            for role in ("up", "down") if plain else ("gate", "up", "down"):
                yield f"{path}*.{disk_name(self.spec, role, 'experts')}.weight"
        else:
            yield path if experts else f"{before}input_linear."
            if not experts:
                yield f"{before}output_linear."
