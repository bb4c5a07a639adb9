"""Dense MLPs: the library's gated one where it does, else a class of their own."""

from collections.abc import Iterator

from codegen.language.disk import fused_roles, lies_in_layer
from codegen.language.keys import Section
from codegen.language.mlp import Gated, Glu, Moe, Plain
from codegen.language.spec import Spec
from codegen.members import member
from codegen.plan.context import Context
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import (
    flag,
    fused_of,
    fused_structure,
    groups_code,
    is_transposed,
    linear_class,
    part_of,
    role_renames,
    section_of,
    turned_rules,
    uniform_flags,
)
from codegen.plan.names import attribute, disk_name
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, CONFIG, is_atom
from codegen.plan.types import Assign, ClassPlan, Code, MixerPlan, unless_linear, unless_true

DEFAULT_NAMES = ("gate_proj", "up_proj", "down_proj")
ROLES = ("gate", "up", "down")
PACKED = ("gate", "up")
PLAIN = ("up", "down", "activation")


def dense(spec: Spec, part: str) -> Gated:
    section = section_of(spec, part)
    assert isinstance(section, Gated)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two MLP classes."""
    section = dense(spec, part)
    names = tuple(disk_name(spec, role, part) for role in (*ROLES, "activation"))
    numbers = tuple(sorted(section.multipliers or {})), section.glu is not None, section.inner_norm
    rounding = section.bias_rounding
    return isinstance(section, Plain), names, fused_structure(spec, part, "up"), numbers, rounding


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The MLP of those combinations that share a signature."""
    return (_plain if is_plain(context.base, part) else _gated)(context, class_name, part)


def is_plain(spec: Spec, part: str) -> bool:
    """Whether it has no gate."""
    return isinstance(dense(spec, part), Plain)


def packable(context: Context, part: str) -> bool:
    """Whether gate and up may become one matrix: where no layer has a plain MLP under the same path,
    and both lie the same way, with biases or without."""
    if fused_of(context.base, part, "up") is not None:
        return True
    using = context.where(lambda s: isinstance(part_of(s, part), Gated), True)
    kinds = {isinstance(section_of(spec, part), Plain) for spec in using.flat.values()}
    turned = any(is_transposed(spec, part, role) for spec in using.flat.values() for role in PACKED)
    return len(kinds) == 1 and not turned and uniform_flags(using, part, PACKED, ATTENTION)[1] is None


def _beside_experts(context: Context, part: str) -> bool:
    """Whether other layers have experts in its place, which take the padding mask as well."""
    return any(isinstance(part_of(spec, part), Moe) for spec in context.whole.flat.values())


def activation_code(context: Context, spec: Spec, part: str) -> Code:
    """The name of the activation: a word of the catalog, or an expression over the config."""
    written = dense(spec, part).activation
    if written is not None and not written.mentions("config"):
        word = written.constant
        return repr(written.text if word is ... else word)
    return ATTENTION.code(context.value(dense(spec, part), "activation"))


def _shared(context: Context, part: str) -> tuple[Code, Code]:
    width = context.code(lambda s: context.value(dense(s, part), "width"), ATTENTION)
    return width, context.code(lambda s: activation_code(context, s, part), ATTENTION)


def _gated(context: Context, class_name: str, part: str) -> MixerPlan:
    section = dense(context.base, part)
    options = _options(context, part)
    if section.inner_norm is None and section.glu is None and not section.multipliers and not _dropout(context):
        given = ", ".join(f"{name}={code}" for name, code in options.items() if code is not None)
        return MixerPlan(f"CombinedGateUpMLP(config, backend, {given})", None, ("gated MLP",))
    made = ClassPlan(
        template="dense",
        definition="TemplateMLP",
        name=class_name,
        docs={"mlp": "Gated MLP"},
        codes=options
        | {"product": _product(context, section), "down": _down(section, attribute(context.base, "down", part))},
        attributes=(*_numbers(context, part), *_inner_norm(context, part, str(options["width"])), *_dropout(context)),
        statements={"multiply": _multiply(section, ("gate", "up"))},
    )
    return _finished(context, part, made, ("backend",), {}, ("gated MLP",))


def _options(context: Context, part: str) -> dict[str, Code | None]:
    """Arguments of the library's class; None for what is its default."""
    width, activation = _shared(context, part)
    bias, biases = uniform_flags(context, part, ROLES, ATTENTION)
    names = tuple(attribute(context.base, role, part) for role in ROLES)
    fused = fused_of(context.base, part, "up")
    groups = groups_code(context, part, "up", ATTENTION) if fused else "1"
    return {
        "width": width,
        "activation": activation,
        "bias": None if bias is None or (bias == "False" and not context.config.has("mlp_bias")) else bias,
        "biases": biases,
        "names": repr(names) if names != DEFAULT_NAMES else None,
        "fused": repr(fused[0]) if fused else None,
        "groups": None if groups == "1" else groups,
        "order": repr(fused[1].parts) if fused and fused[1].parts != PACKED else None,
        "packed": None if packable(context.whole, part) else "False",
        "linear": unless_linear(linear_class(context, part)),
    }


def _plain(context: Context, class_name: str, part: str) -> MixerPlan:
    spec, section = context.base, dense(context.base, part)
    width, activation = _shared(context, part)
    up, down, act = names = tuple(attribute(spec, role, part) for role in PLAIN)
    biases = {role: context.code(lambda s, r=role: flag(context, s, part, r), ATTENTION) for role in PLAIN[:2]}
    if lies_in_layer(spec, part):
        return _in_layer(context, part)
    simple = section.inner_norm is None and not section.multipliers and not _dropout(context)
    made = ClassPlan(
        template="dense",
        definition="TemplatePlainMLP",
        name=class_name,
        docs={"mlp": "down(activation(up(x)))"},
        when={"single_expression": simple, "steps": not simple, "width_is_local": not is_atom(width)},
        codes={
            "width": width if is_atom(width) else "width",
            "width_value": None if is_atom(width) else width,
            "activation": activation,
            "linear": linear_class(context, part),
            **{f"{role}_bias": unless_true(code) for role, code in biases.items()},
            "hidden": _hidden(context, part, up, act),
            "down": _down(section, down),
        },
        attributes=(*_numbers(context, part), *_inner_norm(context, part, width), *_dropout(context)),
    )
    return _finished(context, part, made, (), dict(zip(PLAIN, names, strict=True)), ("plain MLP",))


def _in_layer(context: Context, part: str) -> MixerPlan:
    """An MLP that is no module: its projections and what they make of x, both for the layer."""
    spec, section = context.base, dense(context.base, part)
    width, activation = _shared(context, part)
    up, down, act = (attribute(spec, role, part) for role in PLAIN)
    sizes = {up: f"config.hidden_size, {width}", down: f"{width}, config.hidden_size"}
    biases = (context.code(lambda s, r=role: flag(context, s, part, r), ATTENTION) for role in PLAIN[:2])
    linear = [
        Assign(name, f"{linear_class(context, part)}({size}{'' if bias == 'True' else f', bias={bias}'})")
        for (name, size), bias in zip(sizes.items(), biases, strict=True)
    ]
    norm = _inner_norm(context, part, width)
    y = _hidden(context, part, up, act)
    y = f"{member(norm[0].name)}({y})" if norm else y
    product = f"{member(down)}({y}){_factor(section, 'down')}"
    parts = (*linear, Assign(act, f"ACT[{activation}]"), *norm, *_numbers(context, part), *_dropout(context))
    return MixerPlan("None", None, ("plain MLP",), parts=parts, product=product)


def _hidden(context: Context, part: str, up: str, act: str) -> Code:
    y = f"{member(act)}({member(up)}(x){_factor(dense(context.base, part), 'up')})"
    return f"self.activation_dropout({y})" if _dropout(context) else y


def _dropout(context: Context) -> tuple[Assign, ...]:
    """What drops of the activations; nothing where nothing does."""
    code = context.code(lambda s: context.value(s.dropout, "activation"), ATTENTION)
    return () if code == "0.0" else (Assign("activation_dropout", f"nn.Dropout({code})"),)


def _finished(
    context: Context,
    part: str,
    made: ClassPlan,
    further: tuple[str, ...],
    roles: dict[str, str],
    features: tuple[str, ...],
) -> MixerPlan:
    """The plan of a class, which is told its layer where its code asks for that, and padding beside experts."""
    norm = dense(context.base, part).inner_norm
    codes = [code for code in made.codes.values() if code] + [one.code for one in made.attributes]
    layer = any("layer_idx" in code for code in codes)
    when = {"inner_norm": norm is not None, "padding_mask": _beside_experts(context, part), "layer_idx": layer}
    made = made._replace(when={**made.when, **when}, roles=roles | ({"inner_norm": norm} if norm else {}))
    arguments = ("config", *(("layer_idx",) if layer else ()), *further)
    return MixerPlan(f"{made.name}({', '.join(arguments)})", made, features)


def _numbers(context: Context, part: str) -> tuple[Assign, ...]:
    """Numbers that forward needs: multipliers, and the bounds of a clamped unit."""
    section = dense(context.base, part)
    found: list[Assign] = []
    for role in section.multipliers or {}:
        code = context.code(lambda s, role=role: (dense(s, part).multipliers or {})[role], ATTENTION)
        found.append(Assign(f"{role}_multiplier", code))
    bounds = _bounds(section.glu)
    for name in bounds:
        code = context.code(lambda s, name=name: context.value(_glu(s, part), name), ATTENTION)
        found.append(Assign(name, code, _glu(context.base, part).why if name == bounds[0] else None))
    return tuple(found)


def _glu(spec: Spec, part: str) -> Glu:
    return dense(spec, part).glu or Glu()


def _bounds(glu: Glu | None) -> tuple[str, ...]:
    """The numbers that a gated unit takes beside gate and up; none where it is only wider."""
    return ("limit", "alpha", "up_offset") if glu and (glu.limit or glu.alpha or glu.up_offset) else ()


def _inner_norm(context: Context, part: str, width: Code) -> tuple[Assign, ...]:
    name = dense(context.base, part).inner_norm
    if name is None:
        return ()
    return (Assign(name, context.code(lambda s: construction(context, s, width, ATTENTION), ATTENTION, lazy=True)),)


def _factor(section: Gated, role: str) -> str:
    return f" * self.{role}_multiplier" if role in (section.multipliers or {}) else ""


def _multiply(section: Gated, roles: tuple[str, ...]) -> tuple[Code, ...]:
    return tuple(f"{role} = {role}{_factor(section, role)}" for role in roles if _factor(section, role))


def _product(context: Context, section: Gated) -> Code:
    y = "self.act_fn(gate) * up" if section.glu is None else _unit(section.glu)
    return f"self.activation_dropout({y})" if _dropout(context) else y


def _unit(glu: Glu) -> Code:
    further = [f"{name}=self.{name}" for name in _bounds(glu)]
    further += [] if glu.dtype in (None, "model") else [f"dtype={glu.dtype!r}"]
    return f"clamped_glu({', '.join(('gate', 'up', 'self.act_fn', *further))})"


def _down(section: Gated, down: str) -> Code:
    return f"{member(down)}(y){_factor(section, 'down')}"


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return role_renames(spec, part, dense(spec, part).roles(fused_roles(spec)))


def rules(context: Context, part: str) -> list[Code]:
    """Rules of the weights that lie otherwise on disk."""
    spec = context.base
    if is_plain(spec, part):
        return turned_rules(context, part, PLAIN[:2])
    return _rules_of_gate(context, part) + turned_rules(context, part, ("down",))


def _rules_of_gate(context: Context, part: str) -> list[Code]:
    """The rule of gate and up: stored as one, packed, or each turned."""
    spec, path = context.base, attribute(context.base, part)
    if fused := fused_of(spec, part, "up"):
        extra = ", transposed=True" if is_transposed(spec, part, "up") else ""
        extra += f", order={fused[1].parts!r}" if fused[1].parts != PACKED else ""
        whole = f"{path}.{fused[0]}"
        return [f"ReorderGateUp({whole!r}, {groups_code(context, part, 'up', CONFIG)}{extra})"]
    if packable(context.whole, part):
        names = tuple(attribute(spec, role, part) for role in PACKED)
        parts = "" if names == DEFAULT_NAMES[:2] else f", parts={names!r}"
        return [f"PackGateUp({path!r}{parts})"]
    return turned_rules(context, part, PACKED)


def flags(context: Context, part: str) -> Iterator[Assign]:
    """Nothing that the model's classes have to say."""
    return iter(())


def call(path: Code, arguments: Code) -> Code:
    """How a layer calls it."""
    return f"{path}({arguments})"


def turning(context: Context, spec: Spec, part: str) -> tuple[Code, Code | None] | None:
    """Nothing turns."""
    return None


def alibi(context: Context, spec: Spec, part: str) -> Code | None:
    """It has no scores."""
    return None


def sizes(section: Section) -> TinySizes:
    """The field of its width has a size of its own."""
    return TinySizes()


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """Blocks that do not divide gate and up."""
    if not is_plain(spec, part):
        yield from numbers.blocks(spec, set(PACKED), numbers.number(dense(spec, part), "width"), dotted=False)


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    assert isinstance(section, Gated)
    yield from tensors.roles(part, PLAIN[:2] if isinstance(section, Plain) else ROLES, before)
    if tensors.guessed(section, "activation") == "xielu":
        yield f"{tensors.at(before, 'activation', part)}."  # it learns parameters
    if section.inner_norm is not None:
        yield from tensors.norm(before + section.inner_norm, None)
