"""The state space mixer of Mamba: a projection, a convolution, steps and maps that the convolved tokens select."""

from collections.abc import Iterator

from codegen.language.keys import Section
from codegen.language.mixers import Mamba1
from codegen.language.spec import Fused, Spec
from codegen.members import member
from codegen.plan.context import Context
from codegen.plan.mixers import states
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import inputs_of, section_of
from codegen.plan.names import attribute, disk_name
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION
from codegen.plan.types import ClassPlan, Code, MixerPlan, unless_true

NORMED = ("dt", "B", "C")
WIDTHS = {"dt": "self.rank", "B": "self.state", "C": "self.state"}
ROLES = ("conv", "dt_proj", "A_log", "D", "out")
SIZES = ("width", "state", "dt_rank", "kernel")
TINY = {"state": 14, "dt_rank": 5, "kernel": 3}
call, turning, alibi, rules, flags = states.call, states.turning, states.alibi, states.rules, states.flags


def mamba1(spec: Spec, part: str) -> Mamba1:
    section = section_of(spec, part)
    assert isinstance(section, Mamba1)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    stored = tuple((name, fused.parts) for name, fused in (_stored(spec, part, role) for role in ("x", "dt")))
    names = tuple(disk_name(spec, role, part) for role in ROLES)
    return names, stored, _norm_names(spec, part)


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    spec, norms = context.base, _norm_names(context.base, part)
    class_name = states.class_name(class_name, "Mamba1")
    named = {f"{role}_norm": name for role, name in zip(NORMED, norms, strict=False)}
    made = ClassPlan(
        template="mamba1",
        definition="TemplateMamba1",
        name=class_name,
        when={"inner_norms": bool(norms)},
        codes={
            **{size: _code(context, part, size) for size in SIZES},
            "activation": states.activation(_code(context, part, "activation")),
            "bias": unless_true(_code(context, part, "bias")),
            "conv_bias": unless_true(_code(context, part, "conv_bias")),
            **{f"{role}_norm": _norm(context, part, role) for role in NORMED if norms},
        },
        statements={"inputs": (_inputs(context, part),), "selection": (_selection(context, part),)},
        roles={
            "inputs": _stored(spec, part, "x")[0],
            "selection": _stored(spec, part, "dt")[0],
            **{role: attribute(spec, role, part) for role in ROLES},
            **named,
        },
        whys={"dt_norm": (own := mamba1(spec, part).inner_norms) and own.why},
    )
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, ("selective state spaces (Mamba)",))


def _code(context: Context, part: str, name: str) -> Code:
    return context.code(lambda s: context.value(mamba1(s, part), name), ATTENTION)


def _stored(spec: Spec, part: str, role: str) -> tuple[str, Fused]:
    """The stored tensor that makes a role beside others."""
    return inputs_of(spec, part, "mamba1", role)


def _norm_names(spec: Spec, part: str) -> tuple[str, ...]:
    """Where the norms of dt, B and C lie, if there are any."""
    norms = mamba1(spec, part).inner_norms
    return () if norms is None else norms.names or ()


def _norm(context: Context, part: str, role: str) -> Code:
    def build(spec: Spec) -> Code:
        return construction(context, spec, WIDTHS[role], ATTENTION, mamba1(spec, part).inner_norms)

    return context.code(build, ATTENTION, lazy=True)


def _inputs(context: Context, part: str) -> Code:
    """The statement that makes x and its gate z."""
    name, fused = _stored(context.base, part, "x")
    return f"{', '.join(fused.parts)} = {member(name)}(without_padding(x, mask)).chunk(2, dim=-1)"


def _selection(context: Context, part: str) -> Code:
    """The statement that makes dt, B and C of the convolved x."""
    name, fused = _stored(context.base, part, "dt")
    widths = ", ".join(WIDTHS[one] for one in fused.parts)
    return f"{', '.join(fused.parts)} = {member(name)}(x).split(({widths}), dim=-1)"


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    before = attribute(spec, part)
    on_disk = f"{before}." if disk_name(spec, part) else ""
    moved = [(f"{on_disk}{name}", f"{before}.{name}") for name in _norm_names(spec, part)]
    return [*states.one_input_renames(spec, part, "mamba1", ROLES), *moved]


def sizes(section: Section) -> TinySizes:
    """The size of a state, the rank of steps, the number of taps; the width is a number of its own."""
    return TinySizes(((section, TINY),))


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """All of its sizes fit."""
    return iter(())


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    assert isinstance(section, Mamba1)
    conv, out, step = (tensors.at(before, role, part) for role in ("conv", "out", "dt_proj"))
    biases = {f"{before}in_proj": "bias", conv: "conv_bias", out: "bias"}
    for path, flag in biases.items():
        yield f"{path}.weight"
        if bool(tensors.said(section, flag)):
            yield f"{path}.bias"
    yield from (f"{before}x_proj.weight", f"{step}.weight", f"{step}.bias")
    yield from (tensors.at(before, role, part) for role in ("A_log", "D"))
    for name in section.inner_norms.names or () if section.inner_norms is not None else ():
        yield from tensors.norm(f"{before}{name}", section.inner_norms)
