"""The real-gated linear recurrent unit of Griffin: a gate beside a convolution and a sum that decays by channel."""

from collections.abc import Iterator

from codegen.language.keys import Section
from codegen.language.mixers import RgLru
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers import states
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import path_of, role_renames, section_of
from codegen.plan.names import attribute, disk_name
from codegen.plan.scope import ATTENTION
from codegen.plan.types import ClassPlan, Code, MixerPlan

PROJECTED = ("y", "x", "conv", "out")
GATES = ("input_gate_weight", "input_gate_bias", "recurrent_gate_weight", "recurrent_gate_bias")
ROLES = (*PROJECTED, *GATES, "recurrent_param")
TINY = {"width": 40, "heads": 4, "kernel": 3}
call, turning, alibi, rules, flags = states.call, states.turning, states.alibi, states.rules, states.flags


def rg_lru(spec: Spec, part: str) -> RgLru:
    section = section_of(spec, part)
    assert isinstance(section, RgLru)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    return tuple(disk_name(spec, role, part) for role in ROLES)


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    roles = {role: attribute(context.base, role, part) for role in ROLES}
    class_name = f"{class_name.removesuffix('Attention')}RgLru"
    made = ClassPlan(
        template="rg_lru",
        definition="TemplateRgLru",
        name=class_name,
        codes={name: _code(context, part, name) for name in (*TINY, "activation")},
        roles=roles,
    )
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, ("real-gated linear recurrent units",))


def _code(context: Context, part: str, name: str) -> Code:
    found = context.code(lambda s: context.value(rg_lru(s, part), name), ATTENTION)
    return states.activation(found) if name == "activation" else found


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return role_renames(spec, part, ROLES)


def sizes(section: Section) -> TinySizes:
    """Its width, the blocks of its gates, and its number of taps."""
    return TinySizes(((section, TINY),))


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """Blocks that do not divide the width."""
    own = rg_lru(spec, part)
    width, heads = numbers.number(own, "width"), numbers.number(own, "heads")
    if width and heads and width % heads:
        yield f"{path_of(part)}.heads", f"{heads} blocks do not divide the width {width} of a tests' config"


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    for role in PROJECTED:
        path = tensors.at(before, role, part)
        yield from (f"{path}.weight", f"{path}.bias")
    yield from (tensors.at(before, role, part) for role in (*GATES, "recurrent_param"))
