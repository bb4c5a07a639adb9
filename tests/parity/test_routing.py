"""Choices of experts: noted, forced, counted."""

import pytest
import torch

from nemo_automodel.parity.compare import failures
from nemo_automodel.parity.routing import Choices, flips, forced, recorded

SCORES = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0], [0.0, 3.0, 0.0, 2.0]])
REAL = torch.tensor([[True, True, False]])


def choose(scores):
    first = torch.topk(scores, 2, dim=-1, sorted=False)
    return first.values, scores.topk(1).indices


def test_a_forced_run_chooses_what_another_chose():
    with recorded() as made:
        choose(SCORES)
    with forced(made, REAL) as found:
        values, best = choose(-SCORES)
    assert best.flatten().tolist() == [0, 3, 1]
    assert torch.equal(values.sort(-1).values, torch.tensor([[-3.0, -2.0], [-3.0, -2.0], [-3.0, -2.0]]))
    assert (found.rows, found.flips) == (4, 4)  # two calls for each real token


def test_only_other_choices_count_and_not_their_order():
    with recorded() as made:
        choose(SCORES)
    with forced(made, REAL) as found:
        choose(SCORES * 2)
    assert (found.rows, found.flips) == (4, 0)


def test_gradients_reach_the_forced_choices():
    scores = SCORES.clone().requires_grad_()
    with recorded() as made:
        choose(-SCORES)
    with forced(made, REAL):
        choose(scores)[0].sum().backward()
    assert scores.grad[0].tolist() == [0, 0, 1, 1]


def test_another_number_of_choices_is_an_error():
    with recorded() as made:
        choose(SCORES)
    with pytest.raises(StopIteration), forced(made, REAL):
        choose(SCORES)
        choose(SCORES)


def test_more_flips_than_chance_makes_fail():
    assert flips("bf16", Choices(), Choices()) == []
    assert not failures(flips("bf16", Choices(rows=99, flips=8), Choices(rows=99, flips=4)))
    assert failures(flips("bf16", Choices(rows=99, flips=20), Choices(rows=99, flips=4)))
