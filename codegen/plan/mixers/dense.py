"""Plans MLPs: the library's gated one where it does, else a class of their own."""

from codegen.language.mlp import Gated, Glu, Moe, Plain
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers.projections import (
    flag,
    fused_of,
    fused_structure,
    groups_code,
    is_transposed,
    section_of,
    uniform_flags,
)
from codegen.plan.names import attribute, disk_name
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, is_atom
from codegen.plan.types import Assign, Code, MlpPlan

DEFAULT_NAMES = ("gate_proj", "up_proj", "down_proj")
ROLES = ("gate", "up", "down")
PACKED = ("gate", "up")


def dense(spec: Spec, part: str = "mlp") -> Gated:
    section = section_of(spec, part)
    assert isinstance(section, Gated)
    return section


def signature(spec: Spec, part: str = "mlp") -> tuple[object, ...]:
    """What makes two layers need two MLP classes."""
    section = dense(spec, part)
    names = tuple(disk_name(spec, role, part) for role in (*ROLES, "activation"))
    numbers = tuple(sorted(section.multipliers or {})), section.glu is not None, section.inner_norm
    return isinstance(section, Plain), names, fused_structure(spec, part, "up"), numbers


def plan_mlp(context: Context, class_name: str, part: str = "mlp") -> MlpPlan:
    """The MLP of those combinations that share a signature."""
    return (
        _plain(context, class_name, part)
        if isinstance(dense(context.base, part), Plain)
        else _gated(context, class_name, part)
    )


def packable(context: Context, part: str = "mlp") -> bool:
    """Whether gate and up may become one matrix: where no layer has a plain MLP under the same path,
    and both lie the same way, with biases or without."""
    if fused_of(context.base, part, "up") is not None:
        return True
    using = context.where(lambda s: isinstance(section_of(s, part), Gated), True)
    kinds = {isinstance(section_of(spec, part), Plain) for spec in using.flat.values()}
    turned = any(is_transposed(spec, part, role) for spec in using.flat.values() for role in PACKED)
    return len(kinds) == 1 and not turned and uniform_flags(using, part, PACKED, ATTENTION)[1] is None


def _beside_experts(context: Context, part: str) -> bool:
    return part == "mlp" and any(isinstance(spec.mlp, Moe) for spec in context.whole.flat.values())


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


def _gated(context: Context, class_name: str, part: str) -> MlpPlan:
    spec = context.base
    section = dense(spec, part)
    width, activation = _shared(context, part)
    bias, biases = uniform_flags(context, part, ROLES, ATTENTION)
    names = tuple(attribute(spec, role, part) for role in ROLES)
    fused = fused_of(spec, part, "up")
    groups = groups_code(context, part, "up", ATTENTION) if fused else "1"
    arguments = [f"width={width}", f"activation={activation}"]
    options = {
        "bias": None if bias is None or (bias == "False" and not context.config.has("mlp_bias")) else bias,
        "biases": biases,
        "names": repr(names) if names != DEFAULT_NAMES else None,
        "fused": repr(attribute(spec, fused[0], part)) if fused else None,
        "groups": None if groups == "1" else groups,
        "order": repr(fused[1].parts) if fused and fused[1].parts != ("gate", "up") else None,
        "packed": None if packable(context.whole, part) else "False",
    }
    arguments += [f"{name}={code}" for name, code in options.items() if code is not None]
    if section.inner_norm is None and section.glu is None and not section.multipliers:
        return MlpPlan(f"CombinedGateUpMLP(config, backend, {', '.join(arguments)})")
    plan = MlpPlan(
        construction=f"{class_name}(config, backend)",
        class_name=class_name,
        doc="Gated MLP",
        width=width,
        activation=activation,
        bias=options["bias"],
        biases=options["biases"],
        names=options["names"],
        fused=options["fused"],
        groups=options["groups"],
        order=options["order"],
        packed=options["packed"],
        attributes=(*_numbers(context, part), *_inner_norm(context, part, width)),
        multiply=_multiply(section, ("gate", "up")),
        hidden=_product(section),
        down=_down(section, names[2]),
        inner_norm=section.inner_norm,
        beside_experts=_beside_experts(context, part),
        down_name=names[2],
    )
    return _knowing_its_layer(plan, f"{class_name}(config, layer_idx, backend)")


def _plain(context: Context, class_name: str, part: str) -> MlpPlan:
    spec = context.base
    section = dense(spec, part)
    width, activation = _shared(context, part)
    up, down, act = (attribute(spec, role, part) for role in ("up", "down", "activation"))
    hidden = f"self.{act}(self.{up}(x){_factor(section, 'up')})"
    plan = MlpPlan(
        construction=f"{class_name}(config)",
        class_name=class_name,
        kind="plain",
        doc="down(activation(up(x)))",
        width=width if is_atom(width) else "width",
        width_value=None if is_atom(width) else width,
        activation=activation,
        attributes=(*_numbers(context, part), *_inner_norm(context, part, width)),
        hidden=hidden,
        down=_down(section, down),
        inner_norm=section.inner_norm,
        beside_experts=_beside_experts(context, part),
        up_name=up,
        down_name=down,
        activation_name=act,
        up_bias=context.code(lambda s: flag(context, s, part, "up"), ATTENTION),
        down_bias=context.code(lambda s: flag(context, s, part, "down"), ATTENTION),
    )
    return _knowing_its_layer(plan, f"{class_name}(config, layer_idx)")


def _knowing_its_layer(plan: MlpPlan, construction: Code) -> MlpPlan:
    """The plan with a class that is told its layer, where some of its code asks for that."""
    codes = [value for value in plan if isinstance(value, str)] + [one.code for one in plan.attributes]
    asks = any("layer_idx" in code for code in codes)
    return plan._replace(construction=construction) if asks else plan


def _numbers(context: Context, part: str) -> tuple[Assign, ...]:
    """Numbers that forward needs: multipliers, and the bounds of a clamped unit."""
    section = dense(context.base, part)
    found: list[Assign] = []
    for role in section.multipliers or {}:
        code = context.code(lambda s, role=role: (dense(s, part).multipliers or {})[role], ATTENTION)
        found.append(Assign(f"{role}_multiplier", code))
    for name in ("limit", "alpha", "up_offset") if section.glu else ():
        code = context.code(lambda s, name=name: context.value(_glu(s, part), name), ATTENTION)
        found.append(Assign(name, code))
    return tuple(found)


def _glu(spec: Spec, part: str) -> Glu:
    return dense(spec, part).glu or Glu()


def _inner_norm(context: Context, part: str, width: Code) -> tuple[Assign, ...]:
    name = dense(context.base, part).inner_norm
    if name is None:
        return ()
    return (Assign(name, context.code(lambda s: construction(context, s, width, ATTENTION), ATTENTION, lazy=True)),)


def _factor(section: Gated, role: str) -> str:
    return f" * self.{role}_multiplier" if role in (section.multipliers or {}) else ""


def _multiply(section: Gated, roles: tuple[str, ...]) -> tuple[Code, ...]:
    return tuple(f"{role} = {role}{_factor(section, role)}" for role in roles if _factor(section, role))


def _product(section: Gated) -> Code:
    if section.glu is None:
        return "self.act_fn(gate) * up"
    return "clamped_glu(gate, up, self.act_fn, limit=self.limit, alpha=self.alpha, up_offset=self.up_offset)"


def _down(section: Gated, down: str) -> Code:
    return f"self.{down}(y){_factor(section, 'down')}"
