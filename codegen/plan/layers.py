"""Plans decoder layers: their parts and the equations between them."""

import ast
from collections.abc import Mapping

from codegen.frozen import Frozen
from codegen.language.disk import lies_in_layer
from codegen.language.keys import Section
from codegen.language.spec import FUNCTIONS, NormPart, Spec
from codegen.language.values import Expression
from codegen.members import member
from codegen.plan import dropouts
from codegen.plan.class_names import block_doc, classes, told_apart
from codegen.plan.context import Context
from codegen.plan.equations import Rewriter, called, parse
from codegen.plan.mixers.kinds import is_mixer, kind, mixer
from codegen.plan.mixers.projections import section_of
from codegen.plan.names import attribute, camel
from codegen.plan.norms import construction
from codegen.plan.parts import part_construction
from codegen.plan.scope import ATTENTION, Scope
from codegen.plan.trees import Combination
from codegen.plan.types import Assign, Code, LayerPlan, MixerPlan

TAILS = {"attention": "Attention", "mlp": "MLP"}  # of class names; other parts give theirs
Owners = Mapping[Combination, MixerPlan]


class Layers(Frozen):
    """What layers are made of, their classes, and the expression that picks a layer's class; `owners` are the mixers
    by name and combination, none where a class stands in."""

    mixers: tuple[MixerPlan, ...]
    layers: tuple[LayerPlan, ...]
    choice: Code
    rope_kind: Expression | None
    owners: Mapping[str, Owners]


def block_calls(spec: Spec) -> list[str]:
    return called(spec.block)


def mixers_of(context: Context) -> list[str]:
    """The mixers that some layer calls, by name."""
    names = [(spec, name) for spec in context.flat.values() for name in block_calls(spec)]
    return sorted({name for spec, name in names if is_mixer(spec, name)}, key=_usual_order)


def _usual_order(name: str) -> tuple[int, str]:
    return (tuple(TAILS).index(name) if name in TAILS else len(TAILS)), name


def plan_layers(context: Context, prefix: str, rope_kind: Expression | None) -> Layers:
    """All classes that some layer needs."""
    planned = {
        name: _planned(context, name, f"{prefix}{TAILS.get(name) or camel(name)}") for name in mixers_of(context)
    }
    context.finish()
    owners = {name: _owners(plans) for name, plans in planned.items()}
    mixers = tuple(plan for plans in planned.values() for plan, _ in plans)
    groups = classes(context, _wiring, f"{prefix}DecoderLayer")
    order = list(dict.fromkeys(called_name for _, group in groups for called_name in block_calls(group.base)))
    experts = any(plan.has_experts for plan in mixers)
    plans: list[LayerPlan] = []
    for name, group in groups:
        doc = block_doc(context, group) if plans else "One block"
        doc = told_apart(doc, [plan.doc for plan in plans], context, group)
        parts, block = _parts(group, owners, rope_kind, order)
        base = next((plan.class_name for plan in plans if plan.base is None and plan.parts == parts), None)
        plans.append(LayerPlan(name, doc, parts, block[:-1], block[-1].removeprefix("x = "), base, experts))
    class_of = {key: name for name, group in groups for key in group.flat}
    keys = {id(spec): key for key, spec in context.flat.items()}
    choice = context.code(lambda s: class_of[keys[id(s)]], Scope(names={"layer": "layer"}))
    return Layers(mixers, tuple(plans), choice, rope_kind, owners)


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes under a part."""
    section = section_of(spec, part)
    return kind(spec, part), type(section), mixer(section).signature(spec, part)


def _planned(context: Context, part: str, class_name: str) -> list[tuple[MixerPlan, Context]]:
    """A plan for each structure that the layers which call the part have; none where a class stands in for it."""
    if part in context.loaded.overrides:
        return []
    groups = classes(using(context, part), lambda s: signature(s, part), class_name)
    plans = [(context.attempt(lambda one=one: _plan(*one, part), None), one[1]) for one in groups]
    made: list[tuple[MixerPlan, Context]] = []
    for plan, group in plans:
        if plan is not None:
            made.append((_told_apart(plan, [other for other, _ in made], using(context, part), group), group))
    return made


def _told_apart(plan: MixerPlan, others: list[MixerPlan], context: Context, group: Context) -> MixerPlan:
    if plan.made is None:
        return plan
    taken = [doc for other in others if other.made for doc in other.made.docs.values()]
    docs = {name: told_apart(doc, taken, context, group) for name, doc in plan.made.docs.items()}
    return plan._replace(made=plan.made._replace(docs=docs))


def _plan(class_name: str, group: Context, part: str) -> MixerPlan:
    return mixer(section_of(group.base, part)).plan(group, class_name, part)


def using(context: Context, part: str) -> Context:
    """Only the combinations whose layers call a mixer under that name."""
    return context.where(lambda s: part in block_calls(s) and is_mixer(s, part), True)


def _wiring(spec: Spec) -> object:
    """What makes two layers need two layer classes; a name may be a mixer's in one and a norm's in the other."""
    inside = [signature(spec, name) for name in block_calls(spec) if lies_in_layer(spec, name)]
    mixers = [name for name in block_calls(spec) if is_mixer(spec, name)]
    return spec.block, attribute(spec, "attention"), attribute(spec, "mlp"), tuple(mixers), tuple(inside)


def _owners(groups: list[tuple[MixerPlan, Context]]) -> Owners:
    return {key: plan for plan, group in groups for key in group.flat}


def _parts(
    context: Context, owners: Mapping[str, Owners], rope_kind: Expression | None, order: list[str]
) -> tuple[tuple[Assign, ...], tuple[Code, ...]]:
    spec = context.base
    names = sorted(block_calls(spec), key=order.index)
    parts: list[Assign] = []
    if rope_kind is not None:
        parts.append(Assign("rope_kind", ATTENTION.code(rope_kind), spec.rope.why if spec.rope else None))
    mixing = [name for name in names if name in owners and is_mixer(spec, name)]
    for name in sorted(mixing, key=_usual_order):
        made = _in_layer(context, owners[name])
        parts += made.parts if made else [_mixer(context, name, owners[name])]
    parts += [_named(context, name) for name in names if name not in mixing]
    numbers: dict[str, Code] = {}
    rewriter = Rewriter(lambda name, args: _call(context, owners, name, args), lambda tree: _number(tree, numbers), {})
    block = tuple(f"{one.target} = {rewriter.code(dropouts.around_sums(one.value))}" for one in spec.block)
    parts += [Assign(name, code) for name, code in numbers.items()]
    parts += dropouts.modules(context, names)
    return tuple(parts), block


def _in_layer(context: Context, owners: Owners) -> MixerPlan | None:
    """The plan of a mixer that is no module, which all layers of a class share."""
    plan = owners.get(next(iter(context.flat)))
    return plan if plan is not None and plan.product is not None else None


def _mixer(context: Context, name: str, owners: Owners) -> Assign:
    """The construction of a mixer, or of the class that stands in for it."""
    why = section_of(context.base, name).why if name != "attention" else None
    if stand_in := context.overriding(name):
        code = f"{stand_in}(config, {'layer_idx, ' if name == 'attention' else ''}backend)"
        return Assign(attribute(context.base, name), code, why)
    keys = {id(one): key for key, one in context.flat.items()}

    def constructed(spec: Spec) -> Code:
        return owners[keys[id(spec)]].construction

    code = context.code(constructed, ATTENTION, lazy=True)
    return Assign(attribute(context.base, name), code, why or context.why(constructed))


def _named(context: Context, name: str) -> Assign:
    """A further part of the block, else a norm under that name."""
    section = (context.base.parts or {}).get(name)
    why = section.why if section is not None else None
    if stand_in := context.overriding(name):
        return Assign(name, f"{stand_in}(config)", why)

    def build(spec: Spec) -> str:
        own: Section | None = (spec.parts or {}).get(name)
        if own is None or isinstance(own, NormPart):
            return construction(context, spec, "config.hidden_size", ATTENTION, own)
        return part_construction(context, own, ATTENTION)

    return Assign(name, context.code(build, ATTENTION, lazy=True), why)


def _call(context: Context, owners: Mapping[str, Owners], name: str, arguments: list[ast.expr]) -> ast.expr | None:
    """A call of the language as a call of a module."""
    shown = ", ".join(ast.unparse(argument) for argument in arguments)
    if name == dropouts.SUM:
        return dropouts.around(context.base, name, shown)
    if name in FUNCTIONS:
        return None
    if not is_mixer(context.base, name):
        return parse(f"{member(name)}({shown})")
    inside = _in_layer(context, owners.get(name, {}))
    if inside is not None and inside.product is not None:
        made = inside.product.replace("(x)", f"({shown})")
    else:
        made = _call_of_mixer(context, name, member(attribute(context.base, name)), shown)
    return dropouts.around(context.base, name, made)


def _call_of_mixer(context: Context, name: str, path: Code, arguments: Code) -> Code:
    """How mixers of that name are called: where the layers' kinds differ, as the one that is told most."""
    if context.overriding(name) and name == "mlp":
        return f"{path}({arguments})"
    calls = [mixer(section_of(spec, name)).call(path, arguments) for spec in context.flat.values()]
    return max(calls, key=len)


def _number(tree: ast.expr, numbers: dict[str, Code]) -> ast.expr:
    """A number of the config becomes an attribute of the layer, named like the field."""
    code = ATTENTION.tree_code(tree)
    first = name = tree.attr if isinstance(tree, ast.Attribute) else "factor"
    count = 1
    while numbers.get(name, code) != code:
        count += 1
        name = f"{first}_{count}"
    numbers[name] = code
    return parse(f"self.{name}")
