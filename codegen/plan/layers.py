"""Plans decoder layers: their parts and the equations between them."""

import ast
from collections.abc import Callable
from typing import TypeVar

from codegen.frozen import Frozen
from codegen.language.attention import Mla
from codegen.language.keys import Section
from codegen.language.mlp import Moe
from codegen.language.spec import FUNCTIONS, NormPart, Spec
from codegen.language.values import Expression
from codegen.plan.context import Context
from codegen.plan.equations import Rewriter, called, parse
from codegen.plan.mixers import dense, gqa, mla, moe
from codegen.plan.names import attribute, camel, layer_path
from codegen.plan.norms import construction
from codegen.plan.parts import part_construction
from codegen.plan.scope import ATTENTION, Scope
from codegen.plan.trees import Combination
from codegen.plan.types import Assign, AttentionPlan, Code, LatentPlan, LayerPlan, MlpPlan

MIXED = ("attention", "mlp")
T = TypeVar("T")


class Layers(Frozen):
    """Every class of the layers, and the expression that picks a layer's class."""

    attentions: tuple[AttentionPlan | LatentPlan, ...]
    mlps: tuple[MlpPlan, ...]
    layers: tuple[LayerPlan, ...]
    choice: Code
    rope_kind: Expression | None


def block_calls(spec: Spec) -> list[str]:
    return called(spec.block)


def plan_layers(context: Context, prefix: str, rope_kind: Expression | None) -> Layers:
    """All classes that some layer needs."""
    attentions = _planned(context, "attention", f"{prefix}Attention", attention_signature, _plan_attention)
    mlps = _planned(context, "mlp", f"{prefix}MLP", mlp_signature, _plan_mlp)
    context.finish()
    owners = {
        "attention": _owners([(plan.class_name, group) for plan, group in attentions]),
        "mlp": _owners([(plan.construction, group) for plan, group in mlps]),
    }
    groups = _classes(context, _wiring, f"{prefix}DecoderLayer")
    order = list(dict.fromkeys(called_name for _, group in groups for called_name in block_calls(group.base)))
    experts = any(plan.moe for plan, _ in mlps)
    plans: list[LayerPlan] = []
    for name, group in groups:
        doc = _doc(context, group) if plans else "One block"
        parts, block = _parts(group, owners, rope_kind, order)
        base = next((plan.class_name for plan in plans if plan.base is None and plan.parts == parts), None)
        plans.append(LayerPlan(name, doc, parts, block[:-1], block[-1].removeprefix("x = "), base, experts))
    class_of = _owners([(name, group) for name, group in groups])
    keys = {id(spec): key for key, spec in context.flat.items()}
    choice = context.code(lambda s: class_of[keys[id(s)]], Scope(names={"layer": "layer"}))
    return Layers(
        tuple(plan for plan, _ in attentions), tuple(plan for plan, _ in mlps), tuple(plans), choice, rope_kind
    )


def attention_signature(spec: Spec) -> tuple[object, ...]:
    """What makes two layers need two attention classes."""
    return mla.signature(spec) if isinstance(spec.attention, Mla) else gqa.signature(spec)


def _plan_attention(context: Context, class_name: str) -> AttentionPlan | LatentPlan:
    plan = mla.plan_latent if isinstance(context.base.attention, Mla) else gqa.plan_attention
    return plan(context, class_name)


def mlp_signature(spec: Spec) -> tuple[object, ...]:
    """What makes two layers need two MLPs."""
    return moe.signature(spec) if isinstance(spec.mlp, Moe) else dense.signature(spec)


def _plan_mlp(context: Context, class_name: str) -> MlpPlan:
    return (
        moe.plan_moe(context, "moe_config")
        if isinstance(context.base.mlp, Moe)
        else dense.plan_mlp(context, class_name)
    )


def _planned(
    context: Context, part: str, class_name: str, signature: Callable[[Spec], object], plan: Callable[[Context, str], T]
) -> list[tuple[T, Context]]:
    """A plan for each structure that the layers which call the part have; none where a class stands in for it."""
    if part in context.loaded.overrides or not _uses(context, part):
        return []
    using = context.where(lambda s: part in block_calls(s), True)
    groups = _classes(using, signature, class_name)
    plans = [(context.attempt(lambda name=name, group=group: plan(group, name), None), group) for name, group in groups]
    return [(made, group) for made, group in plans if made is not None]


def _uses(context: Context, part: str) -> bool:
    return any(part in block_calls(spec) for spec in context.flat.values())


def _wiring(spec: Spec) -> object:
    """What makes two layers need two layer classes."""
    return spec.block, attribute(spec, "attention"), attribute(spec, "mlp")


def _owners(groups: list[tuple[str, Context]]) -> dict[Combination, str]:
    return {key: name for name, group in groups for key in group.flat}


def _classes(context: Context, signature: Callable[[Spec], object], base_name: str) -> list[tuple[str, Context]]:
    """A class name for each signature; the first has the plain name, others say what sets them apart."""
    groups: list[tuple[str, Context]] = []
    for answer in context.answers(signature):
        group = context.where(signature, answer)
        name = base_name if not groups else _distinct(context, group, base_name, [taken for taken, _ in groups])
        groups.append((name, group))
    return groups


def _distinct(context: Context, group: Context, base_name: str, taken: list[str]) -> str:
    """The base name with what all combinations of the group share and the whole does not: a kind, or a flag's field."""
    stem = (
        base_name[: -len("DecoderLayer")] if base_name.endswith("DecoderLayer") else base_name.removesuffix("Attention")
    )
    stem = stem.removesuffix("MLP") if base_name.endswith("MLP") else stem
    tail = base_name[len(stem) :]
    words = ""
    for index, split in enumerate(context.loaded.splits):
        outcomes = {key[index] for key in group.flat}
        if len(outcomes) == 1 and len({key[index] for key in context.flat}) > 1:
            (outcome,) = outcomes
            words += camel(str(outcome)) if split.by else (camel(_field(split.condition)) if outcome else "")
    name = f"{stem}{words}{tail}" if words else f"{stem}Other{tail}"
    while name in taken:
        name = f"{stem}{words}{len(taken) + 1}{tail}"
    return name


def _field(condition: Expression) -> str:
    """The last config field that a condition reads, without its verb."""
    fields = [node.attr for node in ast.walk(condition.tree) if isinstance(node, ast.Attribute)]
    word = (fields[0] if fields else "layer").removeprefix("use_").removeprefix("apply_")
    return f"not_{word}" if isinstance(condition.tree, ast.UnaryOp) else word


def _doc(context: Context, group: Context) -> str:
    """Where the block is used: the last overlay that all its combinations share."""
    for index, split in reversed(list(enumerate(context.loaded.splits))):
        outcomes = {key[index] for key in group.flat}
        if len(outcomes) == 1 and outcomes != {False} and len({key[index] for key in context.flat}) > 1:
            kind = f" is {outcomes.pop()}" if split.by else ""
            where = f"One block where {split.condition.text}{kind}"
            return where if len(where) < 80 else "One block of another wiring"
    return "One block"


def _parts(
    context: Context, owners: dict[str, dict[Combination, str]], rope_kind: Expression | None, order: list[str]
) -> tuple[tuple[Assign, ...], tuple[Code, ...]]:
    spec = context.base
    keys = {id(one): key for key, one in context.flat.items()}
    names = sorted(block_calls(spec), key=order.index)
    parts: list[Assign] = []
    if rope_kind is not None:
        parts.append(Assign("rope_kind", ATTENTION.code(rope_kind), spec.rope.why if spec.rope else None))
    if "attention" in names:
        chosen = context.overriding("attention") or context.code(lambda s: owners["attention"][keys[id(s)]], ATTENTION)
        parts.append(Assign(attribute(spec, "attention"), _construct(chosen, "config, layer_idx, backend")))
    if "mlp" in names:
        stand_in = context.overriding("mlp")
        built = context.code(lambda s: owners["mlp"][keys[id(s)]], ATTENTION, lazy=True) if not stand_in else ""
        built = built or f"{stand_in}(config, backend)"
        parts.append(Assign(attribute(spec, "mlp"), built, spec.mlp.why))
    parts += [_named(context, name) for name in names if name not in MIXED]
    numbers: dict[str, Code] = {}
    padded = not context.overriding("mlp") and any(isinstance(one.mlp, Moe) for one in context.flat.values())
    rewriter = Rewriter(lambda name, args: _call(spec, name, args, padded), lambda tree: _number(tree, numbers), {})
    block = tuple(f"{equation.target} = {rewriter.code(equation.value)}" for equation in spec.block)
    parts += [Assign(name, code) for name, code in numbers.items()]
    dropout = context.code(lambda s: context.value(s.dropout, "residual"), ATTENTION)
    if dropout != "0.0":
        parts.append(Assign("dropout", f"nn.Dropout({dropout})"))
    return (*_containers(parts), *parts), block


def _containers(parts: list[Assign]) -> list[Assign]:
    """Modules that only hold others, where a path on disk passes through them."""
    names = [part.name for part in parts]
    above = [name[:at] for name in names for at, sign in enumerate(name) if sign == "."]
    return [Assign(path, "nn.Module()") for path in dict.fromkeys(above) if path not in names]


def _construct(chosen: Code, arguments: Code) -> Code:
    return f"{chosen}({arguments})" if chosen.isidentifier() else f"({chosen})({arguments})"


def _named(context: Context, name: str) -> Assign:
    """A further part of the block, else a norm under that name."""
    section = (context.base.parts or {}).get(name)
    why = section.why if section is not None else None
    if stand_in := context.overriding(name):
        return Assign(layer_path(name), f"{stand_in}(config)", why)

    def build(spec: Spec) -> str:
        own: Section | None = (spec.parts or {}).get(name)
        if own is None or isinstance(own, NormPart):
            return construction(context, spec, "config.hidden_size", ATTENTION, own)
        return part_construction(context, own, ATTENTION)

    return Assign(layer_path(name), context.code(build, ATTENTION, lazy=True), why)


def _call(spec: Spec, name: str, arguments: list[ast.expr], padded: bool) -> ast.expr | None:
    """A call of the language as a call of a module; experts are told which tokens are padding."""
    shown = ", ".join(ast.unparse(argument) for argument in arguments)
    if name == "attention":
        return _dropped(spec, f"self.{attribute(spec, 'attention')}({shown}, **context)[0]")
    if name == "mlp":
        return _dropped(spec, f"self.{attribute(spec, 'mlp')}({shown}{', padding_mask' if padded else ''})")
    return None if name in FUNCTIONS else parse(f"self.{layer_path(name)}({shown})")


def _dropped(spec: Spec, code: Code) -> ast.expr:
    residual = spec.dropout.residual
    return parse(code if residual is None or residual.constant == 0.0 else f"self.dropout({code})")


def _number(tree: ast.expr, numbers: dict[str, Code]) -> ast.expr:
    """A number of the config becomes an attribute of the layer, named like the field."""
    code = ATTENTION.tree_code(tree)
    name = tree.attr if isinstance(tree, ast.Attribute) else "factor"
    while numbers.get(name, code) != code:
        name += "_"
    numbers[name] = code
    return parse(f"self.{name}")
