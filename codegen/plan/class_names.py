"""What the classes of a model are called and said to be, where layers of several structures need several."""

import ast
from collections.abc import Callable, Collection, Iterator

from codegen.language.loaded import Split
from codegen.language.spec import Spec
from codegen.language.values import Expression
from codegen.plan.context import Context
from codegen.plan.names import camel


def classes(context: Context, signature: Callable[[Spec], object], base_name: str) -> list[tuple[str, Context]]:
    """A class name for each signature; the first has the plain name, others say what sets them apart."""
    groups: list[tuple[str, Context]] = []
    for answer in context.answers(signature):
        group = context.where(signature, answer)
        taken = [one for one, _ in groups]
        name = _distinct(groups[0][1], group, context, base_name, taken) if groups else base_name
        groups.append((name, group))
    return groups


def _distinct(first: Context, group: Context, whole: Context, base_name: str, taken: list[str]) -> str:
    """The base name with what all combinations of the group share and the whole does not."""
    tail = next((tail for tail in TAILS if base_name.endswith(tail)), "")
    stem = base_name.removesuffix(tail)
    words = "".join(_words(first.base, group, whole)) or "Other"
    name = f"{stem}{words.removesuffix(tail)}{tail}"
    while name in taken:
        name = f"{stem}{words}{len(taken) + 1}{tail}"
    return name


def _words(first: Spec, group: Context, whole: Context) -> Iterator[str]:
    """A kind, or a flag's field; where kinds are numbers, what the layers have and the first ones have not."""
    for index, split in enumerate(whole.loaded.splits):
        outcomes = {key[index] for key in group.flat}
        if len(outcomes) == 1 and len({key[index] for key in whole.flat}) > 1:
            (outcome,) = outcomes
            if split.by and isinstance(outcome, str) and outcome.isidentifier():
                yield camel(str(outcome))
            elif split.by and outcome is not None:
                yield from (word for word, has in TRAITS.items() if has(group.base) and not has(first))
            elif outcome:  # of a `when`: where it is true
                yield camel(_field(split.condition))


def _given(name: str) -> Callable[[Spec], bool]:
    return lambda spec: getattr(spec.attention, name, None) is not None


TAILS = ("DecoderLayer", "Attention", "MLP")
TRAITS: dict[str, Callable[[Spec], bool]] = {
    "NoRope": lambda spec: spec.rope is None,
    "Rope": lambda spec: spec.rope is not None,
    "Windowed": _given("window"),
    "Chunked": _given("chunk"),
    "Sink": _given("sinks"),
    "Normed": _given("qk_norm"),
    "Gated": _given("gate"),
}


def _field(condition: Expression) -> str:
    """The word that a condition asks for, else the first config field that it reads, without its verb."""
    match condition.tree:
        case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=str(word))]) if word.isidentifier():
            return word
        case _:
            pass
    fields = [node.attr for node in ast.walk(condition.tree) if isinstance(node, ast.Attribute)]
    word = (fields[0] if fields else "layer").removeprefix("use_").removeprefix("apply_")
    return f"not_{word}" if isinstance(condition.tree, ast.UnaryOp) else word


def block_doc(context: Context, group: Context) -> str:
    """Where the block is used: the last overlay that all its combinations share."""
    for index, split in reversed(list(enumerate(context.loaded.splits))):
        outcomes = {key[index] for key in group.flat}
        if len(outcomes) == 1 and outcomes != {False} and len({key[index] for key in context.flat}) > 1:
            kind = f" is {outcomes.pop()}" if split.by else ""
            where = f"One block where {split.condition.text}{kind}"
            return where if len(where) < 80 else "One block of another wiring"
    return "One block"


def told_apart(doc: str, taken: Collection[str], context: Context, group: Context) -> str:
    """The sentence of a class, with what its layers have in common where another class has that sentence already."""
    if doc not in taken:
        return doc
    found: list[str] = []
    for index, split in enumerate(context.loaded.splits):
        outcomes = {key[index] for key in group.flat}
        if outcomes < {key[index] for key in context.flat} and (split.by or outcomes == {True}):
            found.append(_said(split, outcomes).replace("config.", "").replace("[layer]", ""))
    told = ", ".join(found) or "nothing of this holds"
    return f"{doc.partition(' where ')[0]} where {told if len(told) <= 60 else found[0]}"


def _said(split: Split, outcomes: Collection[object]) -> str:
    """A split and its outcomes in words; of a choice between two, the condition."""
    tree = split.condition.tree
    if isinstance(tree, ast.IfExp) and [ast.unparse(tree.body)] == list(map(repr, outcomes)):
        return ast.unparse(tree.test)
    kind = f" is {' or '.join(sorted(map(str, outcomes)))}" if split.by else ""
    return f"{split.condition.text}{kind}"
