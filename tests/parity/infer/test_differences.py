"""Experts are judged with the weights of the reference; routers by what they choose, in which proportions and sums."""

import pytest
import torch

from nemo_automodel.parity.infer.differences import unlike
from nemo_automodel.parity.infer.routing import Routing

TOKENS = torch.ones(3, dtype=torch.bool)
CHOSEN = torch.tensor([[0, 2], [1, 3], [3, 0]])
WEIGHTS = torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])


def wrong_in(indices, weights, real=TOKENS):
    found = unlike(Routing(indices, weights, 4), Routing(CHOSEN, WEIGHTS, 4), real)
    return {what for what, error in found if error > 1e-6}


@pytest.mark.parametrize(
    ("indices", "weights", "wrong"),
    [
        (CHOSEN, WEIGHTS, set()),
        (CHOSEN.flip(1), WEIGHTS.flip(1), set()),  # the order of the chosen says nothing
        (CHOSEN, WEIGHTS * 2.5, {"sums"}),
        (CHOSEN, WEIGHTS**2 / (WEIGHTS**2).sum(1, keepdim=True), {"proportions"}),
        (torch.tensor([[0, 2], [1, 2], [3, 0]]), WEIGHTS, {"chosen"}),
        (CHOSEN + 4, WEIGHTS, {"chosen", "proportions", "sums"}),
    ],
)
def test_what_a_router_does_otherwise(indices, weights, wrong):
    assert wrong_in(indices, weights) == wrong


def test_tokens_of_padding_tell_nothing():
    others = CHOSEN.clone()
    others[1] = torch.tensor([0, 2])
    assert wrong_in(others, WEIGHTS) == {"chosen"}
    assert wrong_in(others, WEIGHTS, torch.tensor([True, False, True])) == set()
