"""The state space mixer of Mamba-2: one projection, a convolution, a sum that decays by head, a gated norm."""

from collections.abc import Iterator

from codegen.language.keys import Section
from codegen.language.mixers import GroupedNorm, Mamba2
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers import states
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.gated_norms import gated_norm
from codegen.plan.mixers.projections import inputs_of, path_of, section_of
from codegen.plan.names import attribute, disk_name
from codegen.plan.scope import ATTENTION
from codegen.plan.types import Assign, ClassPlan, Code, MixerPlan, unless_true

PARTS = ("z", "x", "B", "C", "dt")
MIXED = ("x", "B", "C")
WIDTHS = {"z": "self.width", "x": "self.mixed", "dt": "self.heads"}
ROLES = ("conv", "A_log", "D", "dt_bias", "mixer_norm", "out")
SIZES = ("heads", "head_dim", "groups", "state", "kernel")
# heads * head_dim is twice the tests' hidden size, as configs check.
# Steps are bounded on both sides, and above by so little that no group of heads sums to nothing: B C may be negative in
# y = D x + (B C) x dt, and of a zero the norm would show nothing but the rounding.
TINY = {"heads": 10, "head_dim": 12, "groups": 2, "state": 14, "kernel": 3, "dt_limit": [0.02, 3.0]}
# Steps beyond the bound have no gradient. Rounding to half precision chooses which do: it is held in full precision.
TINY_BOUND = {"dt_limit": [0.02, 0.5]}
call, turning, alibi, rules, flags = states.call, states.turning, states.alibi, states.rules, states.flags


def mamba2(spec: Spec, part: str) -> Mamba2:
    section = section_of(spec, part)
    assert isinstance(section, Mamba2)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    own = mamba2(spec, part)
    name, fused = inputs_of(spec, part, "mamba2")
    names = tuple(disk_name(spec, role, part) for role in ROLES)
    return names, name, fused.parts, own.norm is None, own.dt_limit is None, tuple(sorted(own.multipliers or {}))


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    own, name = mamba2(context.base, part), inputs_of(context.base, part, "mamba2")[0]
    class_name = states.class_name(class_name, "Mamba2")
    made = ClassPlan(
        template="mamba2",
        definition="TemplateMamba2",
        name=class_name,
        codes={
            **{size: _code(context, part, size) for size in SIZES},
            "activation": states.activation(_code(context, part, "activation")),
            "bounds": None if own.dt_limit is None else _code(context, part, "dt_limit"),
            "bias": unless_true(_code(context, part, "bias")),
            "conv_bias": unless_true(_code(context, part, "conv_bias")),
            "out_bias": unless_true(_code(context, part, "out_bias" if own.out_bias is not None else "bias")),
            "norm": _norm(context, part),
        },
        attributes=_multipliers(context, part),
        statements={
            "multiply": ("inputs = inputs * self.factors(inputs)",) if own.multipliers else (),
            "split": (_split(context, part),),
        },
        roles={"inputs": name, **{role: attribute(context.base, role, part) for role in ROLES}},
        whys={"mixer_norm": own.norm and own.norm.why},
    )
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, ("state spaces (Mamba-2)",))


def _code(context: Context, part: str, name: str) -> Code:
    return context.code(lambda s: context.value(mamba2(s, part), name), ATTENTION)


def _multipliers(context: Context, part: str) -> tuple[Assign, ...]:
    found: list[str] = []
    for role in mamba2(context.base, part).multipliers or {}:
        code = context.code(lambda s, role=role: (mamba2(s, part).multipliers or {})[role], ATTENTION)
        found.append(f"{role!r}: {code}")
    return (Assign("multipliers", f"{{{', '.join(found)}}}"),) if found else ()


def _split(context: Context, part: str) -> Code:
    """The statement that takes the first projection apart; what the convolution mixes lies side by side."""
    parts = inputs_of(context.base, part, "mamba2")[1].parts
    place = parts.index("x")
    if parts[place : place + 3] != MIXED:
        message = f"has a template only where {', '.join(MIXED)} lie side by side"
        raise context.unready(message, f"{path_of(part)}.kind")
    pieces = [one for one in parts if one not in MIXED[1:]]
    return f"{', '.join(pieces)} = inputs.split(({', '.join(WIDTHS[one] for one in pieces)}), dim=-1)"


def _norm(context: Context, part: str) -> Code:
    width = "self.width"
    return gated_norm(context, lambda s: mamba2(s, part).norm, width, f"{path_of(part)}.norm")


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return states.one_input_renames(spec, part, "mamba2", ROLES)


def sizes(section: Section) -> TinySizes:
    """Its widths and counts."""
    return TinySizes(((section, TINY),), apart=((section, TINY_BOUND),))


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """Groups that do not divide the heads, or the width of the norm."""
    own = mamba2(spec, part)
    heads, groups = numbers.number(own, "heads"), numbers.number(own, "groups")
    if heads and groups and heads % groups:
        yield f"{path_of(part)}.groups", f"{groups} groups do not divide the {heads} heads of a tests' config"


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    assert isinstance(section, Mamba2)
    biases = {"in": "bias", "conv": "conv_bias", "out": "bias" if section.out_bias is None else "out_bias"}
    paths = {"in": f"{before}in_proj", **{role: tensors.at(before, role, part) for role in ("conv", "out")}}
    for role, path in paths.items():
        yield f"{path}.weight"
        if bool(tensors.said(section, biases[role])):
            yield f"{path}.bias"
    yield from (tensors.at(before, role, part) for role in ("A_log", "D", "dt_bias"))
    if isinstance(section.norm, GroupedNorm):
        yield f"{tensors.at(before, 'mixer_norm', part)}.weight"
