"""Plans attention classes: one for each structure that some layer or variant has."""

from codegen.language.attention import Gqa, QKNorm
from codegen.language.spec import Fused, Spec
from codegen.plan.context import Context
from codegen.plan.mixers import gates, softmax
from codegen.plan.mixers.projections import flag, fused_of, groups_code, is_transposed, uniform_flags
from codegen.plan.mixers.softmax import attributes, multiply, rotation, scale_code
from codegen.plan.names import attribute, disk_name, memory_name
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, Scope, is_atom, product
from codegen.plan.types import Assign, AttentionPlan, Code, GatePlan, QKNormPlan

ROLES = ("q", "k", "v")
DEFAULT_NAMES = ("q_proj", "k_proj", "v_proj")
SIZES = ("heads", "kv_heads", "head_dim")


def gqa(spec: Spec) -> Gqa:
    assert isinstance(spec.attention, Gqa)
    return spec.attention


def fused_qkv(spec: Spec, part: str = "attention") -> tuple[str, Fused] | None:
    """The stored tensor that holds q, k and v."""
    found = fused_of(spec, part, "q")
    return found if found and "k" in found[1].parts else None


def gate_in_q(spec: Spec, part: str = "attention") -> tuple[str, Fused] | None:
    """The stored tensor that holds each head's query and then its gate."""
    found = fused_of(spec, part, "q")
    return found if found and found[1].parts == ("q", "out_gate") else None


def projection_names(spec: Spec, part: str = "attention") -> tuple[str, ...]:
    """Attributes of the matrices of q, k and v."""
    q, *others = (attribute(spec, role, part) for role in ROLES)
    gated = gate_in_q(spec, part)
    return memory_name(gated[0]) if gated else q, *others


def signature(spec: Spec) -> tuple[object, ...]:
    """What makes two layers need two attention classes; numbers and flags do not."""
    part = gqa(spec)
    norm, fused = part.qk_norm, fused_of(spec, "attention", "q")
    return (
        tuple(disk_name(spec, role, "attention") for role in (*ROLES, "out", "q_norm", "k_norm", *gates.ROLES)),
        fused and (fused[0], fused[1].parts),
        gates.signature(spec),
        part.v_head_dim is not None,
        norm and (norm.over, norm.place, norm.weights),
        part.inner_norm,
        softmax.signature(spec),
        _clips(spec),
    )


def plan_attention(context: Context, class_name: str, part: str = "attention") -> AttentionPlan:
    """The class for those combinations that share a signature."""
    spec = context.base
    head_dim, head_dim_value = _head_dim(context)
    heads = context.code(lambda s: context.value(gqa(s), "heads"), ATTENTION)
    kv_heads = context.code(lambda s: context.value(gqa(s), "kv_heads"), ATTENTION)
    bias, biases = uniform_flags(context, part, ROLES, ATTENTION)
    names, fused = projection_names(spec, part), fused_qkv(spec, part)
    v_head_dim = v_head_dim_code(context)
    width = product(heads, v_head_dim or head_dim)
    return AttentionPlan(
        class_name=class_name,
        doc=_doc(spec, heads == kv_heads),
        head_dim=head_dim,
        head_dim_value=head_dim_value,
        attributes=attributes(context, head_dim, scale_code),
        heads=heads,
        kv_heads=kv_heads,
        bias=None if bias == "False" else bias,
        biases=biases,
        names=repr(names) if not fused and names != DEFAULT_NAMES else None,
        fused=repr(attribute(spec, fused[0], part)) if fused else None,
        layout=_layout(context, part, kv_heads) if fused else None,
        packed="False" if not fused and not packable(context) else None,
        sinks=_sinks(context),
        qk_norm=_qk_norm(context, head_dim, heads, kv_heads, part),
        rotation=rotation(context),
        clip=_clips(spec),
        multiply=multiply(context),
        inner_norm=_inner_norm(context, width),
        out_name=attribute(spec, "out", part),
        out_bias=context.code(lambda s: flag(context, s, part, "out"), ATTENTION),
        v_head_dim=v_head_dim,
        gate=_gate(context, part, heads, width),
    )


def _clips(spec: Spec) -> bool:
    bound = gqa(spec).clip
    return bound is not None and not bound.is_none


def v_head_dim_code(context: Context) -> Code | None:
    """The width of a value head; None where it is that of q and k."""
    if gqa(context.base).v_head_dim is None:
        return None
    if fused_qkv(context.base):
        raise context.unready("no template yet where q, k and v are stored fused", "attention.v_head_dim")
    return context.code(lambda s: context.value(gqa(s), "v_head_dim"), ATTENTION)


def _gate(context: Context, part: str, heads: Code, width: Code) -> GatePlan | None:
    gate, fused = gqa(context.base).gate, fused_of(context.base, part, "out_gate")
    if gate is not None and fused:
        heads_apart = groups_code(context, part, "q", ATTENTION) == heads
        per_head = context.word(gate, "per") == "head"
        if not gate_in_q(context.base, part) or per_head or not heads_apart or gqa(context.base).v_head_dim is not None:
            message = "stored fused, it has a template only as [q, out_gate] of each head"
            raise context.unready(message, "attention.gate")
    return gates.plan_gate(context, part, heads, width, in_q=fused is not None)


def _sinks(context: Context) -> Code | None:
    code = context.code(lambda s: context.value(gqa(s), "sinks"), ATTENTION)
    return None if code == "False" else code


def _layout(context: Context, part: str, kv_heads: Code) -> Code | None:
    """The layout of a fused matrix; None where its rows are grouped per KV head, as packing does it."""
    found = fused_qkv(context.base, part)
    assert found is not None
    groups = groups_code(context, part, "q", ATTENTION)
    return None if groups == kv_heads and found[1].parts == ROLES else f"QKVLayout({found[1].parts!r}, {groups})"


def packable(context: Context) -> bool:
    """Whether one rule fits all layers: the same names and heads, and biases on all of q, k, v or on none."""
    using = context.whole.where(lambda s: isinstance(s.attention, Gqa), True)

    def varies(size: str) -> bool:
        return using.depends_on_layer(
            lambda s: using.value(gqa(s), size) if getattr(gqa(s), size) or size in SIZES else None
        )

    if any(map(varies, (*SIZES, "v_head_dim"))) or len(using.answers(projection_names)) > 1:
        return False
    if any(is_transposed(spec, "attention", role) for spec in using.flat.values() for role in ROLES):
        return False
    return uniform_flags(using, "attention", ROLES, ATTENTION)[1] is None


def head_dim_code(context: Context, scope: Scope = ATTENTION) -> Code:
    """The width of a head as code over the config."""
    return context.code(lambda s: context.value(gqa(s), "head_dim"), scope)


def _head_dim(context: Context) -> tuple[Code, Code | None]:
    value = head_dim_code(context)
    return (value, None) if is_atom(value) else ("head_dim", value)


def _qk_norm(context: Context, head_dim: Code, heads: Code, kv_heads: Code, part: str) -> QKNormPlan | None:
    spec = context.base
    norm = gqa(spec).qk_norm
    if norm is None:
        return None
    over, weights = context.word(norm, "over"), context.word(norm, "weights")

    def build(count: Code) -> Code:
        dim = head_dim if over == "head" else product(count, head_dim)
        heads = count if weights == "per_head" else None

        def one(s: Spec) -> str:
            own = gqa(s).qk_norm
            assert isinstance(own, QKNorm)
            made = construction(context, s, dim, ATTENTION, own, heads)
            made = f"PerHeadNorms(lambda: {made}, {count})" if weights == "modules" else made
            return made if own.when is None else f"({made}) if ({ATTENTION.code(own.when)}) else nn.Identity()"

        return context.code(one, ATTENTION, lazy=True)

    place = "projection" if over == "projection" else context.word(norm, "place")
    names = attribute(spec, "q_norm", part), attribute(spec, "k_norm", part)
    return QKNormPlan(*names, build(heads), build(kv_heads), place, rows=weights == "per_head")


def _inner_norm(context: Context, width: Code) -> Assign | None:
    name = gqa(context.base).inner_norm
    if name is None:
        return None
    code = context.code(lambda s: construction(context, s, width, ATTENTION), ATTENTION, lazy=True)
    return Assign(name, code)


def _doc(spec: Spec, every_head: bool) -> str:
    part = gqa(spec)
    words = ["Causal"]
    if part.window is not None:
        words.append("windowed")
    if part.softcap is not None:
        words.append("soft-capped")
    words.append("multi-head attention" if every_head else "grouped-query attention")
    return " ".join(words)
