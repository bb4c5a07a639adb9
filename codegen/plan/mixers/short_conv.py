"""Gated short convolution (LFM2): C * conv(B * x), of three projections that are stored as one."""

from collections.abc import Iterator

from codegen.language.keys import Section
from codegen.language.mixers import ShortConv
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers import states
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import inputs_of, section_of
from codegen.plan.names import attribute, disk_name
from codegen.plan.scope import ATTENTION
from codegen.plan.types import ClassPlan, Code, MixerPlan, unless_true

PARTS = ("B", "C", "x")
ROLES = ("conv", "out")
TINY = {"kernel": 4}
call, turning, alibi, rules, flags = states.call, states.turning, states.alibi, states.rules, states.flags


def short_conv(spec: Spec, part: str) -> ShortConv:
    section = section_of(spec, part)
    assert isinstance(section, ShortConv)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    name, fused = inputs_of(spec, part, "short_conv")
    return tuple(disk_name(spec, role, part) for role in ROLES), name, fused.parts


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    name, fused = inputs_of(context.base, part, "short_conv")
    class_name = states.class_name(class_name, "ShortConv")
    order = [f"inputs[{fused.parts.index(one)}]" for one in PARTS]
    made = ClassPlan(
        template="short_conv",
        definition="TemplateShortConv",
        name=class_name,
        codes={
            "kernel": _code(context, part, "kernel"),
            "bias": unless_true(_code(context, part, "bias")),
            "inputs": "inputs" if fused.parts == PARTS else f"({', '.join(order)})",
        },
        roles={"inputs": name, **{role: attribute(context.base, role, part) for role in ROLES}},
    )
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, ("gated short convolutions",))


def _code(context: Context, part: str, name: str) -> Code:
    return context.code(lambda s: context.value(short_conv(s, part), name), ATTENTION)


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return states.one_input_renames(spec, part, "short_conv", ROLES)


def sizes(section: Section) -> TinySizes:
    """Its number of taps."""
    return TinySizes(((section, TINY),))


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """All of its sizes fit."""
    return iter(())


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    paths = [f"{before}in_proj", *(tensors.at(before, role, part) for role in ROLES)]
    has_bias = bool(tensors.said(section, "bias"))
    for path in paths:
        yield f"{path}.weight"
        if has_bias:
            yield f"{path}.bias"
