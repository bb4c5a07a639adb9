"""Lightning attention (MiniMax): a sum over the past that decays by head and layer, a norm, and a gate of the input."""

from collections.abc import Iterator

from codegen.language.attention import Norm
from codegen.language.keys import Section
from codegen.language.mixers import Lightning
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers import states
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import groups_code, role_renames, section_of
from codegen.plan.mixers.stored import constructions, projected, stored, taken_apart
from codegen.plan.mixers.stored import renames as stored_renames
from codegen.plan.names import attribute, disk_name
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, METHOD
from codegen.plan.types import ClassPlan, Code, MixerPlan

ACTIVATED = ("q", "k", "v")
OWN = ("mixer_norm", "out_gate", "out")
WIDTHS: dict[str, Code] = dict.fromkeys(ACTIVATED, "self.width")
call, turning, alibi, rules, flags = states.call, states.turning, states.alibi, states.rules, states.flags


def lightning(spec: Spec, part: str) -> Lightning:
    section = section_of(spec, part)
    assert isinstance(section, Lightning)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    return tuple(disk_name(spec, role, part) for role in OWN), tuple(stored(spec, part, ACTIVATED))


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    spec, class_name = context.base, states.class_name(class_name, "LightningAttention")
    projections = constructions(stored(spec, part, ACTIVATED), WIDTHS, "self.head_dim")
    made = ClassPlan(
        template="lightning",
        definition="TemplateLightning",
        name=class_name,
        codes={
            **{name: _code(context, part, name) for name in ("heads", "head_dim", "decay")},
            "activation": states.activation(_code(context, part, "activation")),
            "norm": context.code(lambda s: _norm(context, s, part), ATTENTION, lazy=True),
        },
        statements={"projections": tuple(projections), "inputs": tuple(_inputs(context, part))},
        roles={role: attribute(spec, role, part) for role in OWN},
        whys={"mixer_norm": (lightning(spec, part).norm or Norm()).why},
    )
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, ("lightning attention",))


def _code(context: Context, part: str, name: str) -> Code:
    return context.code(lambda s: context.value(lightning(s, part), name), ATTENTION)


def _norm(context: Context, spec: Spec, part: str) -> Code:
    return construction(context, spec, "self.width", ATTENTION, lightning(spec, part).norm)


def _inputs(context: Context, part: str) -> Iterator[Code]:
    """What x becomes: q, k and v, to be activated."""
    for one in stored(context.base, part, ACTIVATED):
        groups = groups_code(context, part, one.roles[0], METHOD)
        yield taken_apart(one, projected(one), WIDTHS, groups, by="grouped")


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return [*stored_renames(spec, part, ACTIVATED), *role_renames(spec, part, OWN)]


def sizes(section: Section) -> TinySizes:
    """Those of attention fit."""
    return TinySizes()


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """Blocks of one tensor that do not divide the rows of each of its parts."""
    own = lightning(spec, part)
    heads, width = numbers.number(own, "heads"), numbers.number(own, "head_dim")
    for one in stored(spec, part, ACTIVATED):
        yield from numbers.blocks(spec, set(one.roles), heads and width and heads * width, dotted=False)


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    assert isinstance(section, Lightning)
    yield from tensors.roles(part, (*ACTIVATED, "out_gate", "out"), before)
    yield from tensors.norm(tensors.at(before, "mixer_norm", part), section.norm)
