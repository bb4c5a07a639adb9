"""Plans the picture of a model: what its equations do, a block for each kind of layer, and which layers are which."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from codegen.language.norms import merged
from codegen.language.spec import FUNCTIONS, Linear, NormPart, Sinusoid, Spec
from codegen.language.values import Equation, Expression
from codegen.plan.context import Context
from codegen.plan.layers import Owners, block_calls
from codegen.plan.mixers.kinds import is_mixer, kind
from codegen.plan.mixers.projections import section_of
from codegen.plan.names import disk_name
from codegen.plan.output import base_output, replaced
from codegen.plan.scope import negated
from codegen.plan.trees import Leaf, Node, Tree
from codegen.plan.types import Drawing, Fork, Picture
from codegen.plan.walk import Walk, one_step, short, ways


def _given(name: str) -> Callable[[Spec, str], bool]:
    def has(spec: Spec, part: str) -> bool:
        value = getattr(section_of(spec, part), name, None)
        return value is not None and not (isinstance(value, Expression) and value.is_none)

    return has


def _turns(spec: Spec, part: str) -> bool:
    return spec.rope is not None


def _always(spec: Spec, part: str) -> bool:
    return True


# Features that a class has in some of its layers: which ones do.
IN_SOME_LAYERS: Mapping[str, Callable[[Spec, str], bool]] = {
    "sliding window": _given("window"),
    "chunked attention": _given("chunk"),
    "soft-capped scores": _given("softcap"),
    "RoPE": _turns,
    "interleaved RoPE": _turns,
    "RoPE, layout by config": _turns,
}
FURTHER = {"output gate": _given("gate"), "ALiBi": _given("alibi")}  # what features of a mixer do not tell
UNSEEN = ("layers without positions", "fused query_key_value on disk")


def plan_picture(context: Context, owners: Mapping[str, Owners]) -> Picture:
    """The picture; `owners` are the mixers by name and combination."""
    outer = context.outer

    def ending(value: Callable[[Spec], ast.expr]) -> Fork | Drawing:
        def draw(group: Context) -> Drawing:
            return _drawing(group, owners, (Equation("x", "", value(group.base)),))

        return _pictured(outer, lambda s: ast.unparse(value(s)), draw)

    return Picture(
        input=_drawing(outer, owners, outer.base.input, starts=("ids",)),
        depth="num_hidden_layers",
        layers=_pictured(context, lambda s: s.block, lambda group: _drawing(group, owners, group.base.block)),
        finish=ending(base_output),
        head=ending(_behind),
    )


def _behind(spec: Spec) -> ast.expr:
    """The output equation behind what the base model returns."""
    return replaced(spec.output[-1].value, base_output(spec), ast.Name("x"))


def _pictured(context: Context, question: Callable[[Spec], Any], draw: Callable[[Context], Drawing]) -> Fork | Drawing:
    """A drawing for each answer, under the conditions that lead there."""
    return _forked(context, context.ask(question), draw)


def _forked(context: Context, tree: Tree, draw: Callable[[Context], Drawing]) -> Fork | Drawing:
    if isinstance(tree, Leaf):
        return draw(context)
    ways = tuple((word, _forked(group, way, draw)) for word, group, way in _outcomes(context, tree))
    return Fork(short(tree.split.condition.text), ways)


def _outcomes(context: Context, tree: Node) -> list[tuple[str, Context, Tree]]:
    """Where each outcome of a condition leads, as a word, and with its combinations."""
    words = {} if tree.split.by else {True: "yes", False: "no"}
    place = context.loaded.splits.index(tree.split)
    found: list[tuple[str, Context, Tree]] = []
    for outcome, way in tree.children:
        flat = {key: spec for key, spec in context.flat.items() if key[place] == outcome}
        found.append((words.get(outcome, str(outcome)), replace(context, flat=flat), way))
    return found


def _drawing(
    context: Context, owners: Mapping[str, Owners], equations: tuple[Equation, ...], starts: tuple[str, ...] = ("x",)
) -> Drawing:
    """What equations do in these combinations."""
    embedded = {name for one in equations for name in _on_ids(one.value)} if "ids" in starts else set[str]()
    walk = Walk(lambda name: _part(context, owners, name, name in embedded), FUNCTIONS)
    if starts != ("x",):
        walk.steps[0] = walk.steps[0]._replace(words=starts)
        walk.names = dict.fromkeys(starts, 0)
    for equation in equations:
        walk.equation((equation.target,), equation.value)
    return walk.drawing()


def _on_ids(tree: ast.expr) -> list[str]:
    """What is a table: it is called on ids or on positions, with a number at most."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return [ast.unparse(call.func) for call in calls if ast.unparse(call.args[0]).split(" ")[0] in ("ids", "positions")]


def _part(context: Context, owners: Mapping[str, Owners], name: str, is_table: bool) -> Drawing:
    """What stands for the call of a part."""
    spec = context.base
    if context.overriding(name):
        return one_step((name, str(context.overriding(name))))
    if is_mixer(spec, name) and name in block_calls(spec):
        return _mixed(context, owners[name], name, context.ask(lambda s: kind(s, name)))
    if name == disk_name(spec, "head"):
        return one_step(("head", name))
    part = (spec.parts or {}).get(name)
    if isinstance(part, Sinusoid):
        return one_step(("sinusoidal positions",))
    if is_table:
        return one_step(("embedding", name))
    words = "linear" if isinstance(part, Linear) else " or ".join(dict.fromkeys(_norms(context, name)))
    where = (f"where {short(part.when.text)}",) if isinstance(part, Linear) and part.when is not None else ()
    return one_step((words, name, *where))


def _mixed(context: Context, plans: Owners, name: str, tree: Tree) -> Drawing:
    """A mixer; where its kind depends on the layer, each kind under its condition."""
    if isinstance(tree, Node):
        drawings = [(word, _mixed(group, plans, name, way)) for word, group, way in _outcomes(context, tree)]
        return ways(short(tree.split.condition.text), drawings)
    return plans[next(iter(context.flat))].drawing or one_step(_features(context, name, plans))


def _norms(context: Context, name: str) -> list[str]:
    """What a norm is, where combinations differ in it each."""

    def words(spec: Spec) -> str:
        own = (spec.parts or {}).get(name)
        norm = merged(spec, own if isinstance(own, NormPart) else None)
        found = "LayerNorm" if context.word(norm, "kind") == "layernorm" else "RMSNorm"
        if norm.weight is not None and norm.weight.constant is False:
            return f"{found} without weights"
        return f"{found}, 1 + w" if context.word(norm, "offset") == 1 else found

    return context.answers(words)


def _features(context: Context, part: str, plans: Owners) -> list[str]:
    """What a mixer has, a line each; where some layers lack it, with which ones have it."""
    keys = {id(spec): key for key, spec in context.flat.items()}

    def has(words: str) -> Callable[[Spec], bool]:
        if words in FURTHER:
            return lambda spec: FURTHER[words](spec, part)
        own = IN_SOME_LAYERS.get(words, _always)
        return lambda spec: words in plans[keys[id(spec)]].features and own(spec, part)

    found = [*dict.fromkeys(words for key in context.flat for words in plans[key].features), *FURTHER]
    lines = [(words, context.ask(has(words))) for words in found if words not in UNSEEN]
    return [f"{words}{_where(tree)}" for words, tree in lines if not isinstance(tree, Leaf) or tree.value]


def _where(tree: Tree) -> str:
    """In which layers something is; nothing where it is in all."""
    if isinstance(tree, Leaf):
        return ""
    if not _is_plain(tree):
        return " in some layers" if tree.split.per_layer else " in some models"
    outcomes = [outcome for outcome, child in tree.children if isinstance(child, Leaf) and child.value]
    condition = tree.split.condition.text
    if tree.split.by:
        return f" where {short(condition)} is {' or '.join(map(str, outcomes))}"
    if outcomes == [True]:
        return f" where {short(condition)}"
    return f" where {short(negated(condition)).replace('not (', 'not ').removesuffix(')')}"


def _is_plain(tree: Node) -> bool:
    """Whether one condition decides, and in a few words."""
    return all(isinstance(child, Leaf) for _, child in tree.children) and len(tree.split.condition.text) <= 60
