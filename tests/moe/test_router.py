"""Routers alone: choices and weights."""

import pytest
import torch

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.moe.config import MoEConfig
from nemo_automodel.components.moe.router import ROUTERS, Router, make_router


def config(**fields):
    sizes = {"dim": 4, "moe_inter_dim": 4, "n_routed_experts": 4, "n_activated_experts": 2}
    return MoEConfig(**{**sizes, **fields})


def router(logits, bias=None, **fields):
    """One whose logits are given [T, E], and its input: the projection is the identity."""
    logits = torch.tensor(logits)
    made = make_router(config(dim=logits.shape[1], n_routed_experts=logits.shape[1], **fields))
    with torch.no_grad():
        made.weight.copy_(torch.eye(logits.shape[1]))
        if bias is not None:
            made.e_score_correction_bias.copy_(torch.tensor(bias))
    return made, logits


def test_unknown_names_are_errors_that_list_the_known():
    with pytest.raises(KeyError, match="softmax, sigmoid, sparsemixer"):
        make_router(config(score_func="tanh"))
    with pytest.raises(ValueError, match="top2_sum, max"):
        config(group_score="mean")
    with pytest.raises(ValueError, match="cannot get 5 of 4"):
        config(n_activated_experts=5)
    with pytest.raises(ValueError, match="do not split into 3"):
        config(n_expert_groups=3)
    with pytest.raises(NotImplementedError, match="does not say"):
        Router(config()).score(torch.zeros(1, 4))


def test_ties_choose_as_many_experts_and_equal_weights():
    made, x = router([[1.0, 1.0, 1.0, 1.0]], norm_topk_prob=True)
    logits, weights, indices = made(x)
    assert logits.equal(x) and len(set(indices[0].tolist())) == 2
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_the_correction_bias_chooses_but_does_not_weigh(name):
    made, x = router([[3.0, 2.0, -1.0, -2.0]], bias=[0.0, -9.0, 9.0, 0.0], score_func=name, correction_bias=True)
    _, weights, indices = made(x)
    scores = x.softmax(-1) if name == "softmax" else x.sigmoid()
    assert sorted(indices[0].tolist()) == [0, 2]
    torch.testing.assert_close(weights, scores.gather(1, indices))


def test_scores_of_the_chosen_alone():
    made, x = router([[3.0, 2.0, -1.0, -2.0]], softmax_before_topk=False)
    torch.testing.assert_close(made(x)[1], torch.tensor([[3.0, 2.0]]).softmax(-1))


@pytest.mark.parametrize(("how", "kept"), [("max", [0, 1]), ("top2_sum", [2, 3])])
def test_groups_keep_the_best_by_their_rule(how, kept):
    made, x = router([[4.0, -9.0, 2.0, 2.0]], score_func="sigmoid", n_expert_groups=2, group_score=how)
    assert sorted(made(x)[2][0].tolist()) == kept


def test_masked_with_zero_beats_negative_scores():
    fields = {"score_func": "sigmoid", "correction_bias": True, "n_expert_groups": 2, "group_score": "max"}
    logits, bias = [[1.0, 0.5, 0.0, 0.0]], [-2.0, -2.0, -3.0, -3.0]
    for masked, expected in (("-inf", {0, 1}), (0.0, {2, 3})):
        made, x = router(logits, bias=bias, group_masked=masked, **fields)
        assert set(made(x)[2][0].tolist()) == expected


@pytest.mark.parametrize(
    ("fields", "total"),
    [
        ({}, 0.5 + 0.25),
        ({"norm_topk_prob": True}, 1.0),
        ({"norm_topk_prob": True, "norm_topk_eps": 0.25}, 0.75),
        ({"norm_topk_prob": True, "norm_topk_min": 1.5}, 0.5),
        ({"norm_topk_prob": True, "norm_topk_order": 1.0}, 1.0),
        ({"norm_topk_prob": True, "norm_topk_order": 2.0}, 3 / 5**0.5),
        ({"route_scale": 3.0}, 2.25),
    ],
)
def test_renormalisation(fields, total):
    probabilities = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    made, x = router(probabilities.log().tolist(), **fields)
    torch.testing.assert_close(made(x)[1].sum(), torch.tensor(total))


def test_softcap_bends_the_logits():
    made, x = router([[30.0, 0.0, 0.0, 0.0]], router_softcap=1.0)
    logits, weights, _ = made(x)
    torch.testing.assert_close(weights, torch.tanh(x).softmax(-1).topk(2).values)
    torch.testing.assert_close(logits, torch.tanh(x))  # and that are reported


def test_dtypes_of_projection_scores_and_weights():
    x = torch.randn(64, 4, dtype=torch.bfloat16)
    expected = {
        ("score", "model"): (torch.bfloat16, torch.bfloat16),
        ("score", "float32"): (torch.bfloat16, torch.float32),
        ("float32", "model"): (torch.float32, torch.bfloat16),
        ("float32", "float32"): (torch.float32, torch.float32),
        ("model", "float32"): (torch.bfloat16, torch.bfloat16),
    }
    for (gate, weights), dtypes in expected.items():
        made = make_router(config(gate_dtype=gate, weights_dtype=weights))
        made.initialize(1.0)
        logits, chosen, _ = made.to(torch.bfloat16)(x)
        assert (logits.dtype, chosen.dtype) == dtypes, (gate, weights)
    made = make_router(config(), BackendConfig(gate_precision="float64"))
    made.initialize(1.0)
    assert made.to(torch.bfloat16)(x)[0].dtype == torch.float64


def test_a_pinned_gate_stays_fp32_and_is_exact():
    made = make_router(config(gate_pinned=True, correction_bias=True, gate_dtype="float32", dtype=torch.bfloat16))
    made.initialize(1.0)
    weight = made.weight.detach().clone()
    made.to(torch.bfloat16).half()
    assert made.weight.dtype == made.e_score_correction_bias.dtype == torch.float32 and made.weight.equal(weight)


def test_an_untrained_gate_has_no_gradient():
    made = make_router(config(train_gate=False))
    assert not made.weight.requires_grad


def test_every_router_routes_padding_to_nobody():
    for name in ROUTERS:
        made = make_router(config(score_func=name))
        made.initialize(1.0)
        indices = made(torch.randn(3, 4), torch.tensor([True, False, True]))[2]
        assert (indices[1] == 4).all() and (indices[[0, 2]] < 4).all()
        assert made.load.sum() == 4
