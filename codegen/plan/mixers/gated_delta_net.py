"""Gated delta nets (Qwen3-Next, Kimi Linear): projections in any layout, short convolutions, a decaying state."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from codegen.language.attention import Norm
from codegen.language.keys import Section
from codegen.language.mixers import GatedDeltaNet, GroupedNorm
from codegen.language.spec import Spec
from codegen.language.values import expression
from codegen.plan.context import Context
from codegen.plan.mixers import states
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import fused_of, groups_code, path_of, role_renames, section_of
from codegen.plan.mixers.stored import constructions, projected, stored, taken_apart
from codegen.plan.mixers.stored import renames as stored_renames
from codegen.plan.names import attribute, disk_name, stays_float32
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, CONFIG, METHOD
from codegen.plan.types import Assign, ClassPlan, Code, MixerPlan

PROJECTED, CONVOLVED = ("q", "k", "v", "z", "b", "a"), ("conv_q", "conv_k", "conv_v")
OWN = ("A_log", "dt_bias", "mixer_norm", "out")
TINY = {"key_heads": 2, "heads": 4, "key_dim": 6, "value_dim": 10, "kernel": 3}
WIDTHS = {role: "self.key_width" for role in ("q", "k")} | {role: "self.value_width" for role in ("v", "z")}
ONE = expression("1")


call, turning, alibi, flags = states.call, states.turning, states.alibi, states.flags


def delta_net(spec: Spec, part: str) -> GatedDeltaNet:
    section = section_of(spec, part)
    assert isinstance(section, GatedDeltaNet)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    own = delta_net(spec, part)
    norm = own.norm and (own.norm.gate, own.norm.cast)
    names = tuple(disk_name(spec, role, part) for role in OWN)
    words = own.decay, own.decay_bound is None, own.gate_activation, own.beta is None, _pinned(spec, part)
    return names, tuple(stored(spec, part, PROJECTED)), _conv(spec, part), norm, words


def _conv(spec: Spec, part: str) -> str:
    """The attribute of the convolutions, which are one in memory."""
    fused = fused_of(spec, part, "conv_q")
    return fused[0] if fused else "conv1d"


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    spec, by_channel = context.base, _by_channel(context.base, part)
    class_name = states.class_name(class_name, "DeltaNet")
    roles = {role: attribute(spec, role, part) for role in OWN}
    projections = constructions(stored(spec, part, PROJECTED), _widths(context, part), "self.value_dim")
    made = ClassPlan(
        template="gated_delta_net",
        definition="TemplateGatedDeltaNet",
        name=class_name,
        docs={"mixer": f"Gated delta rule with decay by {'channel' if by_channel else 'head'}"},
        when={"gate_first": _gate_first(context, part)},
        codes=_codes(context, part),
        attributes=_attributes(context, part),
        statements={"projections": tuple(projections), "inputs": tuple(_inputs(context, part))},
        roles={"conv": _conv(spec, part), **roles},
        whys={"mixer_norm": (delta_net(spec, part).norm or Norm()).why},
    )
    features = (f"gated delta rule, decay by {'channel' if by_channel else 'head'}",)
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, features)


def _codes(context: Context, part: str) -> Mapping[str, Code | None]:
    own = delta_net(context.base, part)
    by_channel, bounded = _by_channel(context.base, part), own.decay_bound is not None
    beta, pinned = _code(context, part, "beta"), _pinned(context.base, part)
    dtypes = {f"{role}_dtype": "torch.float32" if role in pinned else None for role in own.pinnable()}
    return {
        **dtypes,
        **{name: _code(context, part, name) for name in (*TINY, "activation")},
        "rates": "1, 1, self.heads, 1" if by_channel and not bounded else "self.heads",
        "steps": _widths(context, part)["a"],
        "start": "start_by_channel" if by_channel else "start_by_head",
        "beta": "b.sigmoid()" if beta in ("1", "1.0") else f"{beta} * b.sigmoid()",
        "norm": context.code(lambda s: _norm(context, s, part), ATTENTION, lazy=True),
        "normed": "y.float()" if own.norm is not None and own.norm.cast == "after_weight" else "y",
        "gate": "torch.sigmoid" if own.gate_activation == "sigmoid" else "silu",
    }


def _code(context: Context, part: str, name: str) -> Code:
    found = context.code(lambda s: context.value(delta_net(s, part), name), ATTENTION)
    return states.activation(found) if name == "activation" else found


def _attributes(context: Context, part: str) -> tuple[Assign, ...]:
    own, pinned = delta_net(context.base, part), _pinned(context.base, part)
    found = [Assign("decay_bound", _code(context, part, "decay_bound"), own.why)] if own.decay_bound is not None else []
    if pinned:
        found.append(Assign("pinned", repr(tuple(attribute(context.base, role, part) for role in pinned))))
    return tuple(found)


def _pinned(spec: Spec, part: str) -> tuple[str, ...]:
    """Roles that are fp32 whatever the model is."""
    return tuple(
        role for role in delta_net(spec, part).pinnable() if stays_float32(spec, part, disk_name(spec, role, part))
    )


def _by_channel(spec: Spec, part: str) -> bool:
    return delta_net(spec, part).decay == "channel"


def _gate_first(context: Context, part: str) -> bool:
    norm = delta_net(context.base, part).norm
    return norm is not None and norm.gate == "before"


def _norm(context: Context, spec: Spec, part: str) -> Code:
    """The norm of a head, of which only kind and epsilon are those of the model's norms."""
    own = delta_net(spec, part).norm or GroupedNorm()
    if own.groups not in (None, ONE):
        raise context.unready("no template yet for several groups of a head", f"{path_of(part)}.norm.groups")
    norm = replace(Norm(), **{key: getattr(own, key) for key in ("kind", "eps", "weight", "bias", "why")})
    norm = replace(norm, offset=own.offset or 0, cast=own.cast or "before_weight")
    made = construction(context, spec, "self.value_dim", ATTENTION, norm)
    return made if own.when is None else f"({made}) if ({ATTENTION.code(own.when)}) else nn.Identity()"


def _widths(context: Context, part: str) -> Mapping[str, Code]:
    steps = "self.key_width" if _by_channel(context.base, part) else "self.heads"
    return {**WIDTHS, "b": "self.heads", "a": steps}


def _inputs(context: Context, part: str) -> Iterator[Code]:
    """What x becomes: z, b, a, and q, k, v beside each other."""
    widths, whole = _widths(context, part), False
    for one in stored(context.base, part, PROJECTED):
        groups = groups_code(context, part, one.roles[0], METHOD)
        if one.roles == ("q", "k", "v") and groups == "1":
            whole = True
            yield f"qkv = {projected(one)}"
        else:
            yield taken_apart(one, projected(one), widths, groups)
    if not whole:
        yield "qkv = torch.cat((q, k, v), dim=-1)"


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return [*stored_renames(spec, part, (*PROJECTED, *CONVOLVED)), *role_renames(spec, part, OWN)]


def rules(context: Context, part: str) -> list[Code]:
    """Convolutions that lie apart on disk are one in memory."""
    spec, path = context.base, attribute(context.base, part)
    if fused_of(spec, part, "conv_q"):
        return []
    names = tuple(attribute(spec, role, part) for role in CONVOLVED)
    sizes = (("key_heads", "key_dim"), ("key_heads", "key_dim"), ("heads", "value_dim"))
    widths = (" * ".join(f"({_config_code(context, part, name)})" for name in pair) for pair in sizes)
    return [f"JoinRows({path!r}, {names!r}, ({', '.join(widths)}), {_conv(spec, part)!r})"]


def _config_code(context: Context, part: str, name: str) -> Code:
    return context.code(lambda s: context.value(delta_net(s, part), name), CONFIG)


def sizes(section: Section) -> TinySizes:
    """Heads of keys and of values, and their widths."""
    return TinySizes(((section, TINY),))


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """Key heads that do not divide the others, or are fewer where channels decay; blocks that do not fit."""
    own = delta_net(spec, part)
    heads, keys = numbers.number(own, "heads"), numbers.number(own, "key_heads")
    if heads and keys and (heads % keys or (own.decay == "channel" and heads != keys)):
        yield f"{path_of(part)}.key_heads", f"{keys} do not go with the {heads} heads of a tests' config"
    for width, roles in (("key_dim", {"q", "k"}), ("value_dim", {"v", "z"})):
        count, size = keys if width == "key_dim" else heads, numbers.number(own, width)
        yield from numbers.blocks(spec, roles, count and size and count * size, dotted=False)
    yield from numbers.blocks(spec, {"b"}, heads, dotted=False)


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    yield from tensors.roles(part, (*PROJECTED, *CONVOLVED, "out"), before)
    yield from (tensors.at(before, role, part) for role in ("A_log", "dt_bias"))
    yield f"{tensors.at(before, 'mixer_norm', part)}.weight"
