"""Decision trees and spelled expressions: the code they become gives each combination its answer."""

from itertools import product
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen.language.loaded import Split
from codegen.language.values import expression
from codegen.plan.scope import ATTENTION, METHOD, is_truth, negated, normal
from codegen.plan.trees import Leaf, code, leaves, per_layer, tree

FLAG = Split(expression("config.flag"), (False, True), by=False, per_layer=False)
OTHER = Split(expression("config.other is None"), (False, True), by=False, per_layer=False)
KIND = Split(expression("config.kinds[layer]"), ("full", "sliding", "chunked"), by=True, per_layer=True)
SPLITS = (FLAG, KIND, OTHER)
COMBINATIONS = list(product(*(split.outcomes for split in SPLITS)))


def evaluate(text, combination):
    flag, kind, other = combination
    config = SimpleNamespace(flag=flag, kinds=[kind], other=None if other else 1)
    return eval(text, {"config": config, "layer_idx": 0})  # code of the generator itself is under test


@pytest.mark.parametrize("lazy", [False, True])
@given(answers=st.lists(st.integers(0, 3), min_size=len(COMBINATIONS), max_size=len(COMBINATIONS)))
def test_the_code_gives_every_combination_its_answer(lazy, answers):
    table = dict(zip(COMBINATIONS, answers, strict=True))
    text = normal(code(tree(table, SPLITS), ATTENTION, repr, lazy))
    assert all(evaluate(text, combination) == answer for combination, answer in table.items())


@given(answers=st.lists(st.booleans(), min_size=len(COMBINATIONS), max_size=len(COMBINATIONS)))
def test_truth_values_become_conditions_that_mean_the_same(answers):
    table = dict(zip(COMBINATIONS, answers, strict=True))
    text = normal(code(tree(table, SPLITS), ATTENTION, repr))
    assert all(bool(evaluate(text, combination)) == answer for combination, answer in table.items())


def test_what_is_the_same_everywhere_asks_nothing():
    table = dict.fromkeys(COMBINATIONS, "same")
    assert tree(table, SPLITS) == Leaf("same")


def test_only_splits_that_matter_are_asked():
    table = {key: key[0] for key in COMBINATIONS}
    found = tree(table, SPLITS)
    assert normal(code(found, ATTENTION, repr)) == "bool(config.flag)"
    assert not per_layer(found)
    assert leaves(found) == [False, True]


def test_a_schedule_depends_on_the_layer():
    table = {key: {"full": None, "sliding": "w", "chunked": None}[key[1]] for key in COMBINATIONS}
    assert per_layer(tree(table, SPLITS))


def test_a_config_that_names_the_answer_itself_is_asked_directly():
    table = {key: key[1] for key in COMBINATIONS}
    assert code(tree(table, SPLITS), ATTENTION, repr) == "config.kinds[layer_idx]"


@pytest.mark.parametrize(
    ("text", "scope", "expected"),
    [
        ("config.a ** -0.5", ATTENTION, "config.a ** -0.5"),
        ("config.rope_parameters.factor * layer", ATTENTION, "config.rope_parameters['factor'] * layer_idx"),
        ("config.rope_parameters[config.a].x", ATTENTION, "config.rope_parameters[config.a]['x']"),
        ("config.sub.value", METHOD, "self.config.sub.value"),
        ("(config.a + 1) * 2", METHOD, "(self.config.a + 1) * 2"),
    ],
)
def test_expressions_are_spelled_for_their_place(text, scope, expected):
    assert scope.code(expression(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x is None", "x is not None"),
        ("not x is None", "x is None"),
        ("not x", "bool(x)"),
        ("x == 1", "x != 1"),
        ("x in y", "x not in y"),
        ("x and y", "not (x and y)"),
        ("x < y < z", "not (x < y < z)"),
    ],
)
def test_negations_read_naturally(text, expected):
    assert negated(text) == expected


def test_only_what_yields_a_truth_value_counts_as_one():
    assert is_truth("x is None and not y")
    assert not is_truth("x and y")
