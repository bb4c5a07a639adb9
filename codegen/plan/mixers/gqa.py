"""Multi-head, grouped-query and multi-query attention: one class for each structure that some layer or variant has."""

from collections.abc import Iterator

from codegen.language.attention import Gqa
from codegen.language.disk import fused_roles
from codegen.language.keys import Section
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.mixers import gates, gqa_rules, softmax
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.gqa_class import (
    ROLES,
    Attention,
    choices,
    clips,
    codes,
    describe,
    gqa,
    head_dim_code,
    names_in_memory,
)
from codegen.plan.mixers.projections import bias_apart, fused_of, path_of, role_renames
from codegen.plan.mixers.softmax import NARROW_VALUES, attributes, multiply, scale_code
from codegen.plan.names import disk_name
from codegen.plan.scope import CONFIG
from codegen.plan.types import Assign, ClassPlan, Code, MixerPlan

NUMBERS = {"window": "sliding window", "chunk": "chunked attention", "softcap": "soft-capped scores"}


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two attention classes; numbers and flags do not."""
    own = gqa(spec, part)
    norm, fused = own.qk_norm, fused_of(spec, part, "q")
    return (
        tuple(disk_name(spec, role, part) for role in (*ROLES, "out", "out_bias", "q_norm", "k_norm", *gates.ROLES)),
        fused and (fused[0], fused[1].parts),
        gates.signature(spec, part),
        own.v_head_dim is not None,
        norm and (norm.over, norm.place, norm.weights),
        own.inner_norm,
        softmax.signature(spec, part),
        clips(spec, part),
        own.bias_rounding,
    )


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    found, own = describe(context, part), gqa(context.base, part)
    made = ClassPlan(
        template="gqa",
        definition="TemplateAttention",
        name=class_name,
        docs={"attention": _doc(context, part, found.heads == found.kv_heads)},
        when=choices(found),
        codes=codes(found),
        attributes=attributes(context, part, found.head_dim, scale_code),
        statements={"multiply": multiply(context, part)},
        roles=names_in_memory(context.base, part, found),
        whys={"q_norm": own.qk_norm and own.qk_norm.why, **gates.whys(own.gate, found.gate)},
    )
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, _features(found, made))


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    apart = ("out_bias",) if bias_apart(spec, part, "out") else ()
    return role_renames(spec, part, (*gqa(spec, part).roles(fused_roles(spec)), *apart))


def rules(context: Context, part: str) -> list[Code]:
    """Rules of the weights that lie otherwise on disk."""
    return gqa_rules.rules(context, part)


def flags(context: Context, part: str) -> Iterator[Assign]:
    """What the model's classes say of its attention."""
    yield from softmax.flags(context, part)
    if any(gqa(spec, part).v_head_dim is not None for spec in context.flat.values()):
        yield Assign("_supports_flash_attn", "False", NARROW_VALUES)


def _features(plan: Attention, made: ClassPlan) -> tuple[str, ...]:
    names = {item.name for item in made.attributes}
    found = ["multi-head attention" if plan.heads == plan.kv_heads else "grouped-query attention"]
    found += [words for name, words in NUMBERS.items() if name in names]
    found += [f"QK-norm ({plan.qk_norm.place.replace('_', ' ')})"] if plan.qk_norm else []
    found += ["attention sinks"] if plan.sinks else []
    found += ["clipped projections"] if plan.clip else []
    found += ["fused query_key_value on disk"] if plan.fused else []
    return (*found, *softmax.features(plan.rotation))


def _doc(context: Context, part: str, every_head: bool) -> str:
    own = gqa(context.base, part)
    words = {"windowed": own.window, "chunked": own.chunk, "soft-capped": own.softcap}
    found = ["Causal", *(word for word, number in words.items() if number is not None)]
    found.append("multi-head attention" if every_head else "grouped-query attention")
    here, anywhere = ([one.rope is not None for one in some.flat.values()] for some in (context, context.whole))
    return " ".join([*found, *(["without rotation"] if any(anywhere) and not any(here) else [])])


def call(path: Code, arguments: Code) -> Code:
    """How a layer calls it."""
    return softmax.call(path, arguments)


def turning(context: Context, spec: Spec, part: str) -> tuple[Code, Code | None]:
    """The width of a head, and how much of it turns where that is not its rotary factor's share."""
    rope = spec.rope
    width = CONFIG.code(rope.width) if rope is not None and rope.width is not None else None
    return head_dim_code(context, part, CONFIG), width


def alibi(context: Context, spec: Spec, part: str) -> Code | None:
    """The position biases of its scores."""
    own = gqa(spec, part)
    if own.alibi is None:
        return None
    options, scaled = CONFIG.code(context.value(own, "heads")), context.value(own.alibi, "scaled")
    if scaled.constant is not False:
        scale = scale_code(spec, part, head_dim_code(context, part, CONFIG), CONFIG)
        flag = "" if scaled.constant is True else f" if {CONFIG.code(scaled)} else 1.0"
        options += f", scale={scale}{flag}"
    if context.word(own.alibi, "dtype") == "bfloat16":
        options += ", dtype=torch.bfloat16"
    if context.word(own.alibi, "counted") == "end":
        options += ", from_end=True"
    if context.word(own.alibi, "sum_dtype") == "float32":
        options += ", sum_dtype=torch.float32"
    return f"Alibi({options})"


def sizes(section: Section) -> TinySizes:
    """The fields of heads and their width have sizes of their own."""
    return TinySizes()


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """KV heads that do not divide the query heads, and blocks that do not divide a projection."""
    own = gqa(spec, part)
    heads, kv_heads = numbers.number(own, "heads"), numbers.number(own, "kv_heads")
    width = numbers.number(own, "head_dim")
    if heads and kv_heads and heads % kv_heads:
        yield f"{path_of(part)}.kv_heads", f"{kv_heads} do not divide the {heads} query heads of a tests' config"
    for rows in (heads and width and heads * width, kv_heads and width and kv_heads * width):
        yield from numbers.blocks(spec, set(ROLES), rows, dotted=False)


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    assert isinstance(section, Gqa)
    yield from tensors.roles(part, (*ROLES, "out"), before)
    yield from gates.tensors(tensors, section.gate, part, before)
    if section.sinks is not None and tensors.evaluated(section.sinks):
        yield tensors.at(before, "sinks", part)
    if section.inner_norm is not None:
        yield from tensors.norm(before + section.inner_norm, None)
    norm = section.qk_norm
    if norm is not None and (norm.when is None or tensors.evaluated(norm.when)):
        inner = ".norms.*" if norm.weights == "modules" else ""
        for role in ("q_norm", "k_norm"):
            yield from tensors.norm(f"{tensors.at(before, role, part)}{inner}", norm)
