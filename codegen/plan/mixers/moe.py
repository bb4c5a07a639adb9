"""Plans mixtures of experts: the fields of the library's `MoEConfig` that differ from its defaults."""

import ast
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from codegen.frozen import Frozen
from codegen.language.keys import Section
from codegen.language.mlp import Experts, Glu, Groups, Moe, Renormalize, Router, Shared
from codegen.language.spec import Spec
from codegen.language.values import Expression
from codegen.plan.context import Context
from codegen.plan.mixers import expert_names, expert_rules, expert_tensors
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.expert_names import experts, moe
from codegen.plan.mixers.projections import plain_flag
from codegen.plan.names import disk_name, stays_float32
from codegen.plan.scope import ATTENTION
from codegen.plan.types import Assign, ClassPlan, Code, Drawing, MixerPlan, Step

# No two sizes are equal or multiples by accident, and every limit bites.
TINY = {"count": 8, "top_k": 3, "width": 40}
TINY_ROUTER = {"aux_loss": 0.37}
TINY_LATENT = {"latent": 24}
TINY_GROUPS, TINY_SHARED = {"count": 4, "keep": 2}, {"width": 56}
FUNCTION = "moe_config"
WORDS = {
    "n_expert_groups": "limited groups of experts",
    "correction_bias": "correction bias",
    "shared_expert_inter_dim": "shared experts",
}
Answer = Expression | str | None  # an expression of the spec, code, or "not written"


def router(spec: Spec) -> Router:
    return _router(moe(spec))


def _router(section: Moe) -> Router:
    return section.router or Router()


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two functions: numbers do not."""
    return ()


class Field(Frozen):
    """A field of MoEConfig, the code of its default, and what a spec says for it."""

    name: str
    default: Code
    answer: Callable[[Context, Spec], Answer]


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """Experts, and the function that makes a layer's MoEConfig from the model's config."""
    fields: dict[str, Code] = {}
    for one in FIELDS:
        code = context.code(lambda s, one=one: _or_default(one, context, s), ATTENTION)
        if code != one.default:
            fields[one.name] = code
    per_layer = any("layer_idx" in _names(code) for code in fields.values())
    arguments = "config, layer_idx" if per_layer else "config"
    made = ClassPlan(
        template="moe",
        definition="template_layer_moe_config" if per_layer else "template_moe_config",
        name=FUNCTION,
        codes={"moe_config": f"MoEConfig({', '.join(f'{name}={code}' for name, code in fields.items())})"},
        why=_reasons(moe(context.base)),
    )
    options = context.only(lambda s: tuple(expert_names.options(s)), "checkpoint.names", "a mixture's part")
    construction = f"MoE({', '.join([f'{FUNCTION}({arguments})', 'backend', *options])})"
    return MixerPlan(construction, made, _features(fields), has_experts=True, drawing=_drawing(fields))


def _reasons(section: Moe) -> str | None:
    """What the spec says of the mixture and its sections, which the function's fields come from."""
    router, found = section.router or Router(), {"": section.why}
    for name, own in (("router", router), ("groups", router.groups), ("renormalize", router.renormalize)):
        found[f"{name}: "] = own and own.why
    for name, own in (("experts", section.experts), ("shared", section.shared), ("glu", section.glu)):
        found[f"{name}: "] = own and own.why
    return "; ".join(f"{name}{why}" for name, why in found.items() if why) or None


def _features(fields: Mapping[str, Code]) -> tuple[str, ...]:
    """How tokens are routed, in words."""
    score = fields.get("score_func", "'softmax'")
    found = ["mixture of experts", f"{score[1:-1]} routing" if score[:1] in "'\"" else "routing by config"]
    return (*found, *(words for name, words in WORDS.items() if name in fields))


def _drawing(fields: Mapping[str, Code]) -> Drawing:
    """A router that chooses experts, and those that every token visits."""
    _, *routing = _features(fields)
    shared = WORDS["shared_expert_inter_dim"]
    top = _counted("top {}", fields["n_activated_experts"])
    router = ("router", *top, *(words for words in routing if words != shared))
    experts = (*(_counted("{} experts", fields["n_routed_experts"]) or ("experts",)),)
    experts += (f"{fields.get('expert_kind', repr('gated'))[1:-1]} MLPs",)
    experts += ("in a narrower space",) if "moe_latent_size" in fields else ()
    steps = (Step(("x",), kind="data"), Step(router, (0,)), Step(experts, (0, 1)))
    if "shared_expert_inter_dim" not in fields:
        return steps
    gate = ("behind a sigmoid gate",) if "shared_expert_gate" in fields else ()
    return (*steps, Step((shared, *gate), (0,)), Step(("+",), (2, 3), "sum"))


def _counted(words: str, number: Code) -> tuple[str, ...]:
    """How many there are, where a field or a number says it."""
    name = number.removeprefix("config.")
    return (words.format(name),) if name.replace(".", "_").isidentifier() or name.isdigit() else ()


def _or_default(one: Field, context: Context, spec: Spec) -> Expression | Code:
    answer = one.answer(context, spec)
    return one.default if answer is None else answer


def _names(code: Code) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def _word(section: Callable[[Spec], Section], name: str) -> Callable[[Context, Spec], Answer]:
    return lambda context, spec: repr(context.word(section(spec), name))


def _value(section: Callable[[Spec], Section], name: str) -> Callable[[Context, Spec], Answer]:
    return lambda context, spec: context.value(section(spec), name)


def _written(find: Callable[[Spec], Section | None], name: str) -> Callable[[Context, Spec], Answer]:
    """A key of a section that may be absent, as written."""

    def answer(context: Context, spec: Spec) -> Answer:
        section = find(spec)
        return None if section is None else getattr(section, name)

    return answer


def _chosen(find: Callable[[Spec], Section | None], name: str) -> Callable[[Context, Spec], Answer]:
    """A word of a section that may be absent."""

    def answer(context: Context, spec: Spec) -> Answer:
        section = find(spec)
        return None if section is None else repr(context.word(section, name))

    return answer


def _guarded(find: Callable[[Spec], Any], name: str, absent: Code) -> Callable[[Context, Spec], Answer]:
    """A key of a section with `when`: absent where that is false."""

    def answer(context: Context, spec: Spec) -> Answer:
        section = find(spec)
        if section is None:
            return None
        value = ATTENTION.code(context.value(section, name))
        return value if section.when is None else f"({value}) if ({ATTENTION.code(section.when)}) else {absent}"

    return answer


def _groups(spec: Spec) -> Groups | None:
    return router(spec).groups


def _renormalize(spec: Spec) -> Renormalize | None:
    return router(spec).renormalize


def _shared(spec: Spec) -> Shared | None:
    found = moe(spec).shared
    never = found is not None and found.when is not None and found.when.constant is False
    return None if never else found


def _glu(spec: Spec) -> Glu | None:
    return experts(spec).glu or moe(spec).glu


def _score(context: Context, spec: Spec) -> Answer:
    order = context.word(router(spec), "order")
    return repr("sparsemixer" if order == "sparsemixer" else context.word(router(spec), "score"))


def _activation(context: Context, spec: Spec) -> Answer:
    written = experts(spec).activation or moe(spec).activation
    return _named(written or context.default(Moe, "activation"))


def _shared_activation(context: Context, spec: Spec) -> Answer:
    """Its own, or the mixture's: never what only the routed experts have."""
    shared, routed = _shared(spec), _activation(context, spec)
    if shared is None:
        return None
    own = _named(shared.activation or moe(spec).activation or context.default(Moe, "activation"))
    return None if own == routed else own


def _named(activation: Expression) -> Answer:
    return activation if activation.mentions("config") else repr(activation.constant)


def _renormalizes(context: Context, spec: Spec) -> Answer:
    found = _renormalize(spec)
    return None if found is None else "True" if found.when is None else found.when


FIELDS = (
    Field("dim", "", lambda context, spec: "config.hidden_size"),
    Field("n_routed_experts", "", _value(experts, "count")),
    Field("n_activated_experts", "", _value(experts, "top_k")),
    Field("moe_inter_dim", "", _value(experts, "width")),
    Field("score_func", "'softmax'", _score),
    Field("softmax_before_topk", "True", lambda c, s: str(c.word(router(s), "order") != "topk_first")),
    Field("router_jitter", "0.0", _written(router, "jitter")),
    Field("router_bias", "False", _value(router, "bias")),
    Field("router_softcap", "None", _value(router, "softcap")),
    Field("correction_bias", "False", _value(router, "correction_bias")),
    Field("correction_bias_pinned", "True", lambda c, s: _correction_pinned(s)),
    Field("n_expert_groups", "1", _guarded(_groups, "count", "1")),
    Field("n_limited_groups", "1", _written(_groups, "keep")),
    Field("group_score", "'top2_sum'", _chosen(_groups, "score")),
    Field("group_masked", "'-inf'", _chosen(_groups, "masked")),
    Field("norm_topk_prob", "False", _renormalizes),
    Field("norm_topk_eps", "0.0", _written(_renormalize, "eps")),
    Field("norm_topk_min", "None", _written(_renormalize, "min")),
    Field("norm_topk_order", "None", _written(_renormalize, "norm")),
    Field("route_scale", "1.0", _value(router, "scale")),
    Field("gate_dtype", "'score'", _word(router, "dtype")),
    Field("gate_pinned", "False", lambda c, s: str(_pinned(s))),
    Field("weights_dtype", "'model'", _word(router, "weights_dtype")),
    Field("expert_kind", "'gated'", _word(experts, "kind")),
    Field("expert_bias", "False", lambda c, s: plain_flag(experts(s).bias)),
    Field("expert_blocks", "1", lambda c, s: _blocks(s)),
    Field("expert_order", "('gate', 'up')", lambda c, s: _order(s)),
    Field("expert_activation", "'silu'", _activation),
    Field("glu_limit", "None", _written(_glu, "limit")),
    Field("glu_alpha", "None", _written(_glu, "alpha")),
    Field("glu_up_offset", "0", _written(_glu, "up_offset")),
    Field("glu_dtype", "'model'", _chosen(_glu, "dtype")),
    Field("weight_at", "'output'", _word(experts, "weight_at")),
    Field("expert_sum", "'in_order'", _word(experts, "sum")),
    Field("routed_scale", "1.0", _value(moe, "scale")),
    Field("moe_latent_size", "None", _value(moe, "latent")),
    Field("moe_latent_bias", "False", _written(moe, "latent_bias")),
    Field("shared_expert_inter_dim", "0", _guarded(_shared, "width", "0")),
    Field("shared_kind", "'gated'", _chosen(_shared, "kind")),
    Field("shared_bias", "False", lambda c, s: _shared_bias(c, s)),
    Field("shared_activation", "None", _shared_activation),
    Field("shared_expert_gate", "False", lambda c, s: str((_shared(s) or Shared()).gate == "sigmoid")),
    Field("shared_combine", "'sum'", _chosen(_shared, "combine")),
    Field("aux_loss_coeff", "None", _value(router, "aux_loss")),
)


def _blocks(spec: Spec) -> Answer:
    fused = expert_names.blocks(spec)
    return None if fused is None else fused.groups


def _order(spec: Spec) -> Answer:
    fused = expert_names.blocks(spec)
    return None if fused is None else repr(fused.parts)


def _shared_bias(context: Context, spec: Spec) -> Answer:
    """Like a dense MLP's: what is not written follows the config's flag."""
    shared = _shared(spec)
    if shared is None:
        return None
    return plain_flag(shared.bias) or context.default(Shared, "bias")


def _pinned(spec: Spec) -> bool:
    """Whether the router's weight is one of those that stay fp32."""
    return stays_float32(spec, "mlp", f"{disk_name(spec, 'router', 'mlp')}.weight")


def _correction_pinned(spec: Spec) -> Answer:
    has_one = router(spec).correction_bias is not None
    return str(stays_float32(spec, "mlp", disk_name(spec, "correction_bias", "mlp"))) if has_one else None


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return expert_rules.renames(spec)


def rules(context: Context, part: str) -> list[Code]:
    """Rules of the weights that lie otherwise on disk."""
    return expert_rules.plan_expert_rules(context)


def flags(context: Context, part: str) -> Iterator[Assign]:
    """Nothing that the model's classes have to say."""
    return iter(())


def call(path: Code, arguments: Code) -> Code:
    """How a layer calls it: experts are told which tokens are padding."""
    return f"{path}({arguments}, padding_mask)"


def turning(context: Context, spec: Spec, part: str) -> tuple[Code, Code | None] | None:
    """Nothing turns."""
    return None


def alibi(context: Context, spec: Spec, part: str) -> Code | None:
    """It has no scores."""
    return None


def sizes(section: Section) -> TinySizes:
    """Numbers and widths of experts; grouped products want rows of whole 16 bytes, so widths are multiples of 8."""
    assert isinstance(section, Moe)
    routed, chosen = section.experts or Experts(), _router(section)
    return TinySizes(
        (
            *((section, TINY_LATENT), (routed, TINY), (chosen, TINY_ROUTER)),
            *((chosen.groups, TINY_GROUPS), (section.shared, TINY_SHARED)),
        )
    )


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """More experts chosen than there are, groups that do not divide them, and blocks that do not divide gate and up."""
    own, groups = experts(spec), router(spec).groups
    count, top_k = numbers.number(own, "count"), numbers.number(own, "top_k")
    if count and top_k and top_k > count:
        yield "mlp.experts.top_k", f"{top_k} are more than the {count} experts of a tests' config"
    number = None if groups is None else numbers.value(groups.count)
    keep = None if groups is None else numbers.value(groups.keep)
    if count and number and count % number:
        yield "mlp.router.groups.count", f"{number} do not divide the {count} experts of a tests' config"
    if number and number > 1 and keep and keep > number:
        yield "mlp.router.groups.keep", f"{keep} are more than the {number} groups of a tests' config"
    yield from numbers.blocks(spec, {"gate", "up"}, numbers.number(own, "width"), dotted=True)


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    assert isinstance(section, Moe)
    return expert_tensors.tensors(tensors, section, part, before)
