"""What depends on the layer or on a flag of the config: one value per combination of outcomes, as a decision tree.

A spec's `variants` and `layers` are its splits. For any question ("which window?", "which class?") each combination of
outcomes gives an answer; the tree asks only the splits on which the answer depends, the last one first, because a later
overlay has the last word.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from codegen.frozen import Frozen
from codegen.language.loaded import Split
from codegen.plan.scope import Scope, is_truth, negated

Combination = tuple[Any, ...]


class Leaf(Frozen):
    """The same answer everywhere."""

    value: Any


class Node(Frozen):
    """An answer for each outcome of a split."""

    split: Split
    children: tuple[tuple[Any, "Tree"], ...]


Tree = Leaf | Node


def tree(answers: Mapping[Combination, Any], splits: Sequence[Split]) -> Tree:
    """The smallest tree, in the order of the splits, that gives each combination its answer."""
    return _grow(answers, list(enumerate(splits))[::-1])


def _grow(answers: Mapping[Combination, Any], splits: list[tuple[int, Split]]) -> Tree:
    first = next(iter(answers.values()))
    if all(answer == first for answer in answers.values()):
        return Leaf(first)
    (index, split), *rest = splits
    children: list[tuple[Any, Tree]] = []
    for outcome in split.outcomes:
        mine = {key: answer for key, answer in answers.items() if key[index] == outcome}
        if mine:
            children.append((outcome, _grow(mine, rest)))
    if all(child == children[0][1] for _, child in children):
        return children[0][1]
    return Node(split, tuple(children))


def leaves(node: Tree) -> list[Any]:
    """Each answer once, in the order of the outcomes."""
    if isinstance(node, Leaf):
        return [node.value]
    found: list[Any] = []
    for _, child in node.children:
        found += [value for value in leaves(child) if value not in found]
    return found


def per_layer(node: Tree) -> bool:
    """Whether the answer depends on the layer, not only on the config."""
    if isinstance(node, Leaf):
        return False
    return node.split.per_layer or any(per_layer(child) for _, child in node.children)


def code(node: Tree, scope: Scope, leaf: Callable[[Any], str], lazy: bool = False) -> str:
    """The tree as an expression. `lazy`: evaluate only the answer that holds (answers that build modules)."""
    if isinstance(node, Leaf):
        return leaf(node.value)
    answers = [(outcome, code(child, scope, leaf, lazy)) for outcome, child in node.children]
    asked = scope.code(node.split.condition)
    if not node.split.by:
        return _conditional(asked, negated(asked), dict(answers))
    if all(answer == repr(outcome) for outcome, answer in answers):
        return asked  # the config names the answer itself
    if not lazy:
        entries = ", ".join(f"{outcome!r}: {answer}" for outcome, answer in answers)
        return f"{{{entries}}}[{asked}]"
    chain = answers[-1][1]
    for outcome, answer in reversed(answers[:-1]):
        chain = f"({answer}) if ({asked}) == {outcome!r} else ({chain})"
    return chain


def _conditional(asked: str, denied: str, answers: dict[Any, str]) -> str:
    if (answers[True], answers[False]) == ("True", "False"):
        return asked if is_truth(asked) else f"bool({asked})"
    if (answers[True], answers[False]) == ("False", "True"):
        return denied
    return f"({answers[True]}) if ({asked}) else ({answers[False]})"
