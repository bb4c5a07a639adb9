"""What there is to say of a class of grouped-query attention: sizes, projections, norms, gate, sinks."""

from typing import NamedTuple

from codegen.language.attention import Gqa, QKNorm
from codegen.language.spec import Fused, Spec
from codegen.plan.context import Context
from codegen.plan.mixers import gates, softmax
from codegen.plan.mixers.kinds import is_mixer, mixer
from codegen.plan.mixers.projections import (
    bias_apart,
    flag,
    fused_of,
    groups_code,
    is_transposed,
    linear_class,
    part_of,
    path_of,
    section_of,
    uniform_flags,
)
from codegen.plan.mixers.softmax import rotation
from codegen.plan.names import attribute, path_in_layer
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, Scope, is_atom, product
from codegen.plan.types import Assign, Code, unless_linear, unless_true

ROLES = ("q", "k", "v")
DEFAULT_NAMES = ("q_proj", "k_proj", "v_proj")
PACKED = "qkv_proj"  # what packing makes of them
SIZES = ("heads", "kv_heads", "head_dim")
AS_THEY_ARE = (  # expressions that fill holes of their own names
    *("head_dim", "head_dim_value", "heads", "kv_heads", "bias", "biases", "names", "fused", "layout", "packed"),
    *("sinks", "v_head_dim", "linear"),
)


class _QKNorm(NamedTuple):
    """Norms of queries and keys: how they are built, and where they act."""

    q_code: Code
    k_code: Code
    place: str  # projection | before_rope | after_rope
    rows: bool  # one row of the weight per head: heads must be the last dimension but one


class Attention(NamedTuple):
    """What there is to say of one attention class."""

    head_dim: Code
    head_dim_value: Code | None  # the expression behind a local `head_dim`
    heads: Code
    kv_heads: Code
    bias: Code | None
    biases: Code | None
    names: Code | None
    fused: Code | None
    layout: Code | None
    packed: Code | None
    sinks: Code | None  # when a layer has them: True, or a condition
    qk_norm: _QKNorm | None
    rotation: softmax.Rotation | None
    clip: bool
    inner_norm: Assign | None
    out_bias: Code
    out_bias_name: str | None  # a parameter beside the projection; None: the projection's own
    v_head_dim: Code | None  # None: as wide as q and k
    gate: gates.Gate | None
    linear: Code


def gqa(spec: Spec, part: str) -> Gqa:
    section = section_of(spec, part)
    assert isinstance(section, Gqa)
    return section


def fused_qkv(spec: Spec, part: str) -> tuple[str, Fused] | None:
    """The stored tensor that holds q, k and v."""
    found = fused_of(spec, part, "q")
    return found if found and "k" in found[1].parts else None


def gate_in_q(spec: Spec, part: str) -> tuple[str, Fused] | None:
    """The stored tensor that holds each head's query and then its gate."""
    found = fused_of(spec, part, "q")
    return found if found and found[1].parts == ("q", "out_gate") else None


def projection_names(spec: Spec, part: str) -> tuple[str, ...]:
    """Attributes of the matrices of q, k and v."""
    q, *others = (attribute(spec, role, part) for role in ROLES)
    gated = gate_in_q(spec, part)
    return gated[0] if gated else q, *others


def describe(context: Context, part: str) -> Attention:
    spec = context.base
    head_dim, head_dim_value = _head_dim(context, part)
    heads = context.code(lambda s: context.value(gqa(s, part), "heads"), ATTENTION)
    kv_heads = context.code(lambda s: context.value(gqa(s, part), "kv_heads"), ATTENTION)
    bias, biases = uniform_flags(context, part, ROLES, ATTENTION)
    names, fused = projection_names(spec, part), fused_qkv(spec, part)
    v_head_dim = v_head_dim_code(context, part)
    width = product(heads, v_head_dim or head_dim)
    return Attention(
        head_dim=head_dim,
        head_dim_value=head_dim_value,
        heads=heads,
        kv_heads=kv_heads,
        bias=None if bias == "False" else bias,
        biases=biases,
        names=repr(names) if not fused and names != DEFAULT_NAMES else None,
        fused=repr(fused[0]) if fused else None,
        layout=_layout(context, part, kv_heads) if fused else None,
        packed="False" if not fused and not packable(context, part) else None,
        sinks=_sinks(context, part),
        qk_norm=_qk_norm(context, head_dim, heads, kv_heads, part),
        rotation=rotation(context),
        clip=clips(spec, part),
        inner_norm=_inner_norm(context, part, width),
        out_bias=context.code(lambda s: flag(context, s, part, "out"), ATTENTION),
        out_bias_name=attribute(spec, "out_bias", part) if bias_apart(spec, part, "out") else None,
        v_head_dim=v_head_dim,
        gate=_gate(context, part, heads, width),
        linear=linear_class(context, part),
    )


def choices(plan: Attention) -> dict[str, bool]:
    """What the template has, and what it leaves out."""
    norm, gate = plan.qk_norm, plan.gate
    place = norm.place if norm else None
    rows = bool(norm and norm.rows)
    return {
        "head_dim_is_local": plan.head_dim_value is not None,
        "sinks": plan.sinks == "True",
        "sinks_in_some_layers": plan.sinks not in (None, "True"),
        "qk_norm": norm is not None,
        "inner_norm": plan.inner_norm is not None,
        "whole_projections": plan.clip or place == "projection" or bool(gate and gate.in_q or plan.v_head_dim),
        "v_head_dim": plan.v_head_dim is not None,
        **gates.choices(gate),
        "norm_of_projections": place == "projection",
        "clip": plan.clip,
        "bias_in_out": plan.out_bias_name is None,
        "bias_apart": plan.out_bias_name is not None and plan.out_bias == "True",
        "bias_apart_in_some_layers": plan.out_bias_name is not None and plan.out_bias != "True",
        "norm_before_rope": place == "before_rope" and not rows,
        "row_norm_before_rope": place == "before_rope" and rows,
        "norm_after_rope": place == "after_rope" and not rows,
        "row_norm_after_rope": place == "after_rope" and rows,
        **softmax.turning(plan.rotation),
    }


def codes(plan: Attention) -> dict[str, Code | None]:
    norm, gate = plan.qk_norm, plan.gate
    return {
        **{name: getattr(plan, name) for name in AS_THEY_ARE},
        "q_norm": norm.q_code if norm else None,
        "k_norm": norm.k_code if norm else None,
        "inner_norm": plan.inner_norm.code if plan.inner_norm else None,
        "out_bias": unless_true(plan.out_bias if plan.out_bias_name is None else "False"),
        "has_out_bias": plan.out_bias,
        "value_dim": plan.v_head_dim or plan.head_dim,
        "gated": "True" if gate and gate.in_q else None,
        "linear_class": unless_linear(plan.linear),
        **gates.codes(gate),
        **softmax.turned(plan.rotation),
    }


def names_in_memory(spec: Spec, part: str, plan: Attention) -> dict[str, str]:
    """The attributes that roles have in memory."""
    found = {"out": attribute(spec, "out", part), **gates.names_in_memory(plan.gate)}
    if plan.qk_norm:
        found |= {role: attribute(spec, role, part) for role in ("q_norm", "k_norm")}
    found |= {"out_bias": plan.out_bias_name} if plan.out_bias_name else {}
    return found | ({"inner_norm": plan.inner_norm.name} if plan.inner_norm else {})


def clips(spec: Spec, part: str) -> bool:
    bound = gqa(spec, part).clip
    return bound is not None and not bound.is_none


def v_head_dim_code(context: Context, part: str) -> Code | None:
    """The width of a value head; None where it is that of q and k."""
    if gqa(context.base, part).v_head_dim is None:
        return None
    if fused_qkv(context.base, part):
        raise context.unready("no template yet where q, k and v are stored fused", f"{path_of(part)}.v_head_dim")
    return context.code(lambda s: context.value(gqa(s, part), "v_head_dim"), ATTENTION)


def _gate(context: Context, part: str, heads: Code, width: Code) -> gates.Gate | None:
    own, fused = gqa(context.base, part), fused_of(context.base, part, "out_gate")
    if own.gate is not None and fused:
        heads_apart = groups_code(context, part, "q", ATTENTION) == heads
        per_head = context.word(own.gate, "per") == "head"
        if not gate_in_q(context.base, part) or per_head or not heads_apart or own.v_head_dim is not None:
            message = "stored fused, it has a template only as [q, out_gate] of each head"
            raise context.unready(message, f"{path_of(part)}.gate")
    return gates.describe(context, part, heads, width, in_q=fused is not None)


def _sinks(context: Context, part: str) -> Code | None:
    code = context.code(lambda s: context.value(gqa(s, part), "sinks"), ATTENTION)
    return None if code == "False" else code


def _layout(context: Context, part: str, kv_heads: Code) -> Code | None:
    """The layout of a fused matrix; None where its rows are grouped per KV head, as packing does it."""
    found = fused_qkv(context.base, part)
    assert found is not None
    groups = groups_code(context, part, "q", ATTENTION)
    return None if groups == kv_heads and found[1].parts == ROLES else f"QKVLayout({found[1].parts!r}, {groups})"


def packable(context: Context, part: str) -> bool:
    """Whether one rule fits all layers: the same names and heads, and biases on all of q, k, v or on none.

    The matrix that it makes must not be called as one of another kind of mixer, which the rule would take for it.
    """
    using = context.whole.where(lambda s: isinstance(part_of(s, part), Gqa), True)

    def varies(size: str) -> bool:
        return using.depends_on_layer(
            lambda s: using.value(gqa(s, part), size) if getattr(gqa(s, part), size) or size in SIZES else None
        )

    if any(_is_taken(spec, part, path_in_layer(context.base, part, PACKED)) for spec in context.whole.flat.values()):
        return False
    if any(map(varies, (*SIZES, "v_head_dim"))) or len(using.answers(lambda s: projection_names(s, part))) > 1:
        return False
    if any(is_transposed(spec, part, role) for spec in using.flat.values() for role in ROLES):
        return False
    return uniform_flags(using, part, ROLES, ATTENTION)[1] is None


def _is_taken(spec: Spec, part: str, path: str) -> bool:
    """Whether a mixer of another kind has a matrix at this path of its layer."""
    section = part_of(spec, part)
    if section is None or isinstance(section, Gqa) or not is_mixer(spec, part):
        return False
    return path in [memory for _, memory in mixer(section).renames(spec, part)]


def head_dim_code(context: Context, part: str, scope: Scope = ATTENTION) -> Code:
    """The width of a head as code over the config."""
    return context.code(lambda s: context.value(gqa(s, part), "head_dim"), scope)


def _head_dim(context: Context, part: str) -> tuple[Code, Code | None]:
    value = head_dim_code(context, part)
    return (value, None) if is_atom(value) else ("head_dim", value)


def _qk_norm(context: Context, head_dim: Code, heads: Code, kv_heads: Code, part: str) -> _QKNorm | None:
    spec = context.base
    norm = gqa(spec, part).qk_norm
    if norm is None:
        return None
    over, weights = context.word(norm, "over"), context.word(norm, "weights")

    def build(count: Code) -> Code:
        dim = head_dim if over == "head" else product(count, head_dim)
        heads = count if weights == "per_head" else None

        def one(s: Spec) -> str:
            own = gqa(s, part).qk_norm
            assert isinstance(own, QKNorm)
            made = construction(context, s, dim, ATTENTION, own, heads)
            made = f"PerHeadNorms(lambda: {made}, {count})" if weights == "modules" else made
            return made if own.when is None else f"({made}) if ({ATTENTION.code(own.when)}) else nn.Identity()"

        return context.code(one, ATTENTION, lazy=True)

    place = "projection" if over == "projection" else context.word(norm, "place")
    return _QKNorm(build(heads), build(kv_heads), place, rows=weights == "per_head")


def _inner_norm(context: Context, part: str, width: Code) -> Assign | None:
    name = gqa(context.base, part).inner_norm
    if name is None:
        return None
    code = context.code(lambda s: construction(context, s, width, ATTENTION), ATTENTION, lazy=True)
    return Assign(name, code)
