"""Rules across keys, checked on every flat spec: what is wrong although each key by itself is right."""

from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import Problem, dotted, shown
from codegen.frozen import Frozen
from codegen.language import chains, disk, effects, equations, norms, reserved, stored
from codegen.language.attention import Norm, QKNorm, Softmax
from codegen.language.keys import Mixer, Section, keys
from codegen.language.load import Node
from codegen.language.mlp import Gated, Moe, Plain
from codegen.language.resolve import Resolved
from codegen.language.spec import FUNCTIONS, Spec
from codegen.language.values import NOWHERE, Expression

Found = Iterator[tuple[tuple[Any, ...], str, str]]  # path inside the flat spec, message, cure
IDLE = (  # what a key is for: a part, or any of a kind of mixers
    (("attention",), "attention", Mixer, "attention"),
    (("mlp",), "mlp", Mixer, "mlp"),
    (("rope",), "", Softmax, "attention that could turn"),
    (("dropout", "attention"), "", Softmax, "attention that has weights"),
    (("dropout", "activation"), "", Gated, "a dense MLP"),
    (("dropout", "mlp"), "", (Gated, Moe), "an MLP"),
)
MODEL_WIDE = ("head", "embedding")  # sections that exist once, so `layer` means nothing there


def problems(resolved: Resolved, config: ConfigClass) -> Iterator[Problem]:
    """What is wrong with any combination; a section that combinations share is looked at once."""
    seen: set[tuple[Any, ...]] = set()
    for outcomes, spec in resolved.flat.items():
        look = _Look(spec, resolved.nodes[outcomes], config, seen)
        yield from look.equations()
        for rule in (sections, *RULES):
            yield from look.at(rule)
    yield from _never_called(resolved)
    yield from _idle(resolved)
    yield from _stored_nowhere(resolved)


def _idle(resolved: Resolved) -> Iterator[Problem]:
    """What is written of a part that no equation calls, or for kinds of mixers that none calls."""
    for path, part, kinds, what in IDLE:
        places = [(node.find(path), node.find(path[:-1])) for node in resolved.nodes.values()]
        written = [at for at, above in places if at.file not in (NOWHERE.file, "") and at != above]
        if written and not any(_calls(spec, part, kinds) for spec in resolved.flat.values()):
            message = f"has no effect: no equation calls {what}"
            for at in written:
                yield Problem(at, dotted(*path), message, "call it in block, or leave it out")


def _calls(spec: Spec, part: str, kinds: type[Mixer] | tuple[type[Mixer], ...]) -> bool:
    """Whether the block calls this part, or with no name any part, and it is of such a kind."""
    mixers = {"attention": spec.attention, "mlp": spec.mlp, **spec.parts}
    return any(
        isinstance(mixer, kinds) and stored.calls(spec, name) for name, mixer in mixers.items() if part in ("", name)
    )


def _stored_nowhere(resolved: Resolved) -> Iterator[Problem]:
    """What `checkpoint` says of tensors that no layer has."""
    for key, found in stored.unused(resolved.flat):
        for path, message, remedy in found:
            yield Problem(resolved.nodes[key].find(path), ".".join(map(str, path)), message, remedy)


class _Look(Frozen):
    """One flat spec under its rules."""

    spec: Spec
    node: Node
    config: ConfigClass
    seen: set[tuple[Any, ...]] = field(repr=False)

    def at(self, rule: Callable[[Spec, ConfigClass], Found]) -> Iterator[Problem]:
        """The rule's findings, with places."""
        for path, message, remedy in rule(self.spec, self.config):
            yield Problem(self.node.find(path), dotted(*path), message, remedy)

    def equations(self) -> Iterator[Problem]:
        """The equations of each group as a whole."""
        parts = ("attention", "mlp", *self.spec.parts)
        head = disk.name(self.spec, "head")
        for name, group in equations.GROUPS.items():
            written: tuple[Any, ...] = getattr(self.spec, name)
            at = (id(written), parts, head)
            if at in self.seen:
                continue
            self.seen.add(at)
            for refusal in equations.problems(group, written, parts, head):
                yield Problem(refusal.equation.at, name, refusal.message, refusal.cure)


def _never_called(resolved: Resolved) -> Iterator[Problem]:
    """Parts that are declared and that no equation calls."""
    called: set[str] = set()
    for spec in resolved.flat.values():
        for name in equations.GROUPS:
            called |= set(equations.called_names(getattr(spec, name)))
    for outcomes, spec in resolved.flat.items():
        for name in spec.parts:
            if name not in called:
                place = resolved.nodes[outcomes].find(("parts", name))
                yield Problem(place, f"parts.{name}", "is never called", f"call {name}(x) in an equation, or remove it")


def named_parts(spec: Spec, _: ConfigClass) -> Found:
    """Names of parts."""
    reserved = (*FUNCTIONS, "attention", "mlp", "config", "layer", "ids", "positions")
    for name in spec.parts:
        if not disk.PATH.fullmatch(str(name)) or name in reserved:
            remedy = "write an identifier, dotted where it is stored so"
            yield ("parts", name), f"{shown(name)} cannot name a part", remedy


def turned(spec: Spec, _: ConfigClass) -> Found:
    """How much of a head turns is said once: some attentions have dimensions for it."""
    mixer = spec.attention
    if (
        isinstance(mixer, Mixer)
        and "rope" in keys(type(mixer))
        and spec.rope is not None
        and spec.rope.width is not None
    ):
        message = f"{mixer.words} turns the dimensions that it keeps for it"
        yield ("rope", "width"), message, "write attention.rope"


def sections(spec: Spec, _: ConfigClass) -> Found:
    """Rules of single sections, wherever they stand."""
    for name in keys(Spec):
        value = getattr(spec, name)
        if name == "parts":
            for part, section in value.items():
                yield from _walk((name, part), section)
        elif isinstance(value, Section):
            yield from _walk((name,), value)
            if name in MODEL_WIDE:
                yield from _without_layer((name,), value)


def _walk(path: tuple[Any, ...], section: Section) -> Found:
    for cls, rule in _RULES:
        if isinstance(section, cls):
            yield from rule(path, section)
    for name in keys(type(section)):
        value = getattr(section, name if name != "in" else "in_")
        if isinstance(value, Section):
            yield from _walk((*path, name), value)


def _without_layer(path: tuple[Any, ...], section: Section) -> Found:
    for name in keys(type(section)):
        value = getattr(section, name)
        if isinstance(value, Expression) and value.mentions("layer"):
            yield (*path, name), "there is no `layer` here", "the section exists once for the whole model"


def _norm(path: tuple[Any, ...], norm: Any) -> Found:
    if norm.kind == "layernorm" and norm.cast == "before_weight":
        yield (*path, "cast"), "a layernorm rounds once, at the end", "leave it out, or write after_weight"


def _qk_norm(path: tuple[Any, ...], norm: Any) -> Found:
    if norm.over != "projection":
        return
    if norm.weights in ("per_head", "modules"):
        yield (*path, "weights"), f"'{norm.weights}' needs a norm over each head", "write over: head"
    if norm.place == "after_rope":
        yield (*path, "place"), "a norm over the projection comes before the heads are split", "leave it out"


def _softmax(path: tuple[Any, ...], attention: Any) -> Found:
    if attention.sinks_dtype is not None and (attention.sinks is None or attention.sinks.constant is False):
        yield (*path, "sinks_dtype"), "has no effect without sinks", "write sinks: true, or leave it out"
    multipliers: dict[str, Expression] = attention.multipliers or {}
    for role, factor in multipliers.items():
        if role != "q" and factor.mentions("position"):
            yield (*path, "multipliers", role), "`position` is known in q only", "write the factor without it"


def _dense(path: tuple[Any, ...], mlp: Any) -> Found:
    plain = isinstance(mlp, Plain) or getattr(mlp, "kind", None) == "plain"
    if not plain:
        return
    if mlp.glu is not None:
        yield (*path, "glu"), "a plain MLP has no gate", "write kind: gated"
    for name in ("bias", "multipliers"):
        if "gate" in (getattr(mlp, name) or {}):
            yield (*path, name, "gate"), "a plain MLP has no gate", "name up and down"


def _moe(path: tuple[Any, ...], moe: Any) -> Found:
    router, experts = moe.router, moe.experts
    if moe.glu is not None and moe.glu.alpha is not None:
        for place, part in (((), moe), (("experts",), experts)):
            if part is not None and part.activation is not None:
                yield (*path, *place, "activation"), "has no effect beside glu.alpha, which replaces it", "leave it out"
    if experts is not None and experts.sum in ("at_once", "float32") and experts.weight_at == "input":
        yield (*path, "experts", "sum"), "has no effect where weights act on the input", "leave it out"
    if router is None:
        return
    if (router.jitter is not None) != (router.order == "sparsemixer"):
        yield (*path, "router", "jitter"), "belongs to order: sparsemixer, and the other way round", "write both"
    if router.groups is not None and (router.groups.count is None or router.groups.keep is None):
        yield (*path, "router", "groups"), "needs count and keep", "write {count: ..., keep: ...}"
    yield from _without_effect((*path, "router"), router)


def _without_effect(path: tuple[Any, ...], router: Any) -> Found:
    groups, divided = router.groups, router.renormalize
    if groups is not None and groups.masked == 0.0 and router.correction_bias is None:
        yield (
            (*path, "groups", "masked"),
            "has no effect without a correction bias: no score is below 0",
            "leave it out, or write correction_bias: true",
        )
    plainly = divided is not None and not any((divided.when, divided.eps, divided.min, divided.norm))
    if plainly and router.order == "topk_first" and router.score in (None, "softmax"):
        yield (*path, "renormalize"), "has no effect: the scores of the best sum to 1 already", "leave it out"


RULES: tuple[Callable[[Spec, ConfigClass], Found], ...] = (
    *(disk.names, disk.apart, disk.fused, disk.stored, chains.unresolved, named_parts, turned, reserved.names),
    norms.impossible,
    *(effects.reach, effects.rotation, effects.learned_positions, effects.head, effects.shared_bias, effects.mixture),
)
_RULES: tuple[tuple[type[Section], Callable[[tuple[Any, ...], Any], Found]], ...] = (
    (Norm, _norm),
    (QKNorm, _qk_norm),
    (Softmax, _softmax),
    (Gated, _dense),
    (Moe, _moe),
)
