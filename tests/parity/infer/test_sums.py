"""What the sums of experts' weights say of a router."""

from types import SimpleNamespace

import pytest
import torch

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.routing import Routing
from nemo_automodel.parity.infer.sums import of_sums

ROUTER = ("mlp", "router")


def said(weights, router="{score: sigmoid}", more=""):
    routing = Routing(torch.tensor([[0, 1], [2, 0], [1, 2]]), torch.tensor(weights), 3)
    config = SimpleNamespace(to_dict=lambda: {"routed_scaling_factor": 1.7, "hidden_act": "silu", "other": 2})
    oracle = SimpleNamespace(routing=lambda batch: {"mlp.experts": routing}, reference=SimpleNamespace(config=config))
    candidate = Candidate.read(f"name: x\nmlp: {{kind: moe, router: {router}{more}}}\n", "x")
    return list(of_sums(candidate, oracle, "one"))


def test_one_sum_for_all_is_a_scale():
    scaled = {"renormalize": True, "score": "sigmoid", "scale": "config.routed_scaling_factor"}
    assert said([[1.0, 0.7], [0.85, 0.85], [1.6, 0.1]]) == [(ROUTER, scaled)]


@pytest.mark.parametrize("router", ["{score: sigmoid}", "{score: sigmoid, scale: config.routed_scaling_factor}"])
def test_a_sum_of_one_is_none(router):
    assert said([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]], router) == [(ROUTER, {"renormalize": True, "score": "sigmoid"})]


def test_what_is_said_of_renormalizing_is_kept():
    found = said([[1.0, 0.7], [0.85, 0.85], [1.6, 0.1]], "{renormalize: {eps: 1.0e-20}}")
    assert found[0][1]["renormalize"] == {"eps": 1e-20}


def test_sums_that_differ_say_nothing():
    assert said([[0.5, 0.5], [0.25, 0.7], [0.9, 0.1]]) == []


def test_a_scale_is_not_said_twice():
    """What a draft takes for a factor of all that comes out, where it is one of the weights."""
    weights = [[1.0, 0.7], [0.85, 0.85], [1.6, 0.1]]
    path, mixture = said(weights, more=", scale: config.routed_scaling_factor")[0]
    assert path == ("mlp",) and "scale" not in mixture
    assert mixture["router"]["scale"] == "config.routed_scaling_factor"
