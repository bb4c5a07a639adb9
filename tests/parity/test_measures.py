"""Distances, bounds, random weights and inputs."""

import math

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from nemo_automodel.parity import tolerances
from nemo_automodel.parity.batches import batches
from nemo_automodel.parity.compare import Check, compare_bf16, compare_fp32, distance, exact, failures, middle
from nemo_automodel.parity.randomise import randomise
from nemo_automodel.parity.tracing import align


def test_distance_is_relative_to_the_largest_value():
    reference = torch.tensor([1.0, -4.0])
    assert distance(reference + torch.tensor([0.0, 0.04]), reference) == pytest.approx(0.01)
    assert distance(torch.zeros(2), torch.zeros(2)) == 0
    assert distance(torch.ones(2), torch.zeros(2)) == math.inf
    assert distance(torch.ones(3), reference) == math.inf


def test_nan_never_passes():
    nan = torch.tensor([1.0, math.nan])
    assert not Check("level", "what", distance(nan, torch.ones(2)), tolerances.FP32).passed
    truth = {"x": torch.ones(2)}
    assert failures(compare_bf16("bf16", {"x": nan}, {"x": torch.full((2,), 1.1)}, truth))


def test_the_bound_follows_the_reference_where_it_is_ill_conditioned():
    reference, ours = {"x": torch.tensor([1.0])}, {"x": torch.tensor([1.0 + 1e-4])}

    def in_fp64(value):
        return lambda: {"x": torch.tensor([value], dtype=torch.float64)}

    assert failures(compare_fp32("level", ours, reference, in_fp64(1.0)))
    assert not failures(compare_fp32("level", ours, reference, in_fp64(1.0 + 5e-5)))
    assert failures(compare_fp32("level", {}, reference, in_fp64(1.0)))


def test_as_near_to_the_truth_as_the_bound_will_do():
    """Both rounded, one up and one down, with a truth between them."""
    reference, ours = {"x": torch.tensor([1.0 - 2e-6])}, {"x": torch.tensor([1.0 + 9e-6])}
    truth = {"x": torch.tensor([1.0], dtype=torch.float64)}
    assert not failures(compare_fp32("level", ours, reference, lambda: truth))
    assert failures(compare_fp32("level", {"x": torch.tensor([1.0 + 1.2e-5])}, reference, lambda: truth))


def test_rounding_is_measured_on_other_batches_too():
    reference, ours = {"x": torch.tensor([1.0])}, {"x": torch.tensor([1.0 + 1e-4])}
    exact_here, rough, asked = {"x": reference["x"].double()}, {"x": torch.tensor([1.0 + 5e-5]).double()}, []

    def elsewhere(truth):
        return lambda: asked.append(truth) or (reference, truth)

    assert not failures(compare_fp32("level", ours, reference, lambda: exact_here, [elsewhere(rough)]))
    assert failures(compare_fp32("level", ours, reference, lambda: exact_here, [elsewhere(exact_here)]))
    compare_fp32("level", reference, reference, lambda: exact_here, [elsewhere(rough)])
    assert asked == [rough, exact_here]


def test_what_no_rounding_explains_is_not_measured_again():
    reference, near, far = ({"x": torch.tensor([1.0 + error])} for error in (0.0, 1e-4, 1e-2))
    exact_here, rougher, asked = {"x": reference["x"].double()}, {"x": torch.tensor([1.0 + 5e-3]).double()}, []

    def elsewhere():
        asked.append(1)
        return reference, rougher

    assert failures(compare_fp32("level", far, reference, lambda: exact_here, [elsewhere] * 3)) and not asked
    assert failures(compare_fp32("level", {}, reference, lambda: exact_here, [elsewhere] * 3)) and not asked
    both = {"near": near["x"], "far": far["x"]}, {"near": reference["x"], "far": reference["x"]}
    truths = [{name: truth["x"] for name in both[0]} for truth in (exact_here, rougher)]
    checks = compare_fp32("level", *both, lambda: truths[0], [lambda: (both[1], truths[1])] * 3)
    assert [check.what for check in failures(checks)] == ["far"], "whatever is measured beside it"


def test_the_middle_of_batches_is_judged_but_never_what_is_no_number():
    checks = [Check("bf16", "what", error, 1.25) for error in (1.0, 3.0, 1.2)]
    assert middle(checks).error == 1.2
    assert not middle([*checks[::2], Check("bf16", "what", math.nan, 1.25)]).passed


def test_bf16_pools_layers_and_vectors():
    truth = {f"layers.{i}.w: output": torch.ones(2, 2) for i in range(3)} | {"a: gradient": torch.ones(4)}
    theirs = {name: tensor + 0.01 for name, tensor in truth.items()}
    assert [c.what for c in compare_bf16("bf16", theirs, theirs, truth)] == ["layers.*.w: output", "vectors: gradient"]
    worse = {name: tensor + 0.02 for name, tensor in truth.items()}
    assert all(check.error == pytest.approx(2, rel=1e-4) for check in compare_bf16("bf16", worse, theirs, truth))


def test_bf16_measures_what_is_zero_in_truth_beside_the_pool():
    """A bias of keys that do not turn has no gradient: what fp32 leaves of it is no unit."""
    truth = {"a: gradient": torch.ones(4), "b: gradient": torch.full((4,), 1e-7)}
    theirs = {"a: gradient": torch.full((4,), 1.01), "b: gradient": torch.full((4,), 1e-3)}
    ours = {**theirs, "b: gradient": torch.full((4,), 2e-3)}
    assert not failures(compare_bf16("bf16", ours, theirs, truth))
    assert failures(compare_bf16("bf16", {**ours, "b: gradient": torch.full((4,), 0.1)}, theirs, truth))


def test_exact_lists_its_problems():
    assert exact("level", "what", []).passed
    check = exact("level", "what", ["a is missing", "b is too much"])
    assert not check.passed
    assert "a is missing; b is too much" in str(check)


class Sample(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(400, 100)
        self.conv = Conv1D(100, 400)  # stored [in, out]
        self.embedding = nn.Embedding(50, 100, padding_idx=0)
        self.norm = nn.LayerNorm(300)
        self.tied = nn.Linear(100, 50, bias=False)
        self.tied.weight = self.embedding.weight
        self.register_buffer("count", torch.ones(300))
        self.register_buffer("mask", torch.ones(4, 4))
        self.register_buffer("angles", torch.ones(4), persistent=False)


def test_every_stored_tensor_is_redrawn():
    model, before = Sample(), Sample().state_dict()
    randomise(model)
    after = model.state_dict()
    assert [name for name in after if torch.equal(after[name], before[name])] == ["mask"]
    assert model.tied.weight is model.embedding.weight
    assert torch.equal(model.angles, torch.ones(4))
    assert after["linear.weight"].std() == pytest.approx(400**-0.5, rel=0.05)
    assert after["conv.weight"].std() == pytest.approx(400**-0.5, rel=0.05)
    assert after["norm.weight"].mean() == pytest.approx(1, abs=0.05)
    assert after["norm.weight"].std() == pytest.approx(0.1, rel=0.2)
    assert after["embedding.weight"][0].abs().sum() > 0


def test_batches_hold_padding_on_both_sides_and_inside():
    found = batches(131)
    assert found["plain"].mask is None
    assert found["plain"].real.all()
    assert (found["plain"].ids[0] == 0).any()
    left, right = found["left"], found["right"]
    assert left.mask[:, -1].all()
    assert not left.mask[1:, 0].any()
    assert right.mask[:, 0].all()
    assert not right.mask[1:, -1].any()
    for batch in (left, right):
        assert (batch.labels[~batch.real] == -100).all()
    first = left.mask.argmax(1)
    assert (left.labels[torch.arange(1, 3), first[1:]] == -100).all()  # padding predicts nothing


def test_align_turns_heads_and_doubles_angles():
    heads = torch.randn(2, 6, 5, 3)
    assert torch.equal(align(heads, torch.empty(2, 5, 6, 3)), heads.transpose(1, 2))
    angles = torch.randn(2, 5, 4)
    assert torch.equal(align(angles, torch.cat((angles, angles), -1)), torch.cat((angles, angles), -1))
    assert torch.equal(align(angles, angles.repeat_interleave(2, -1)), angles.repeat_interleave(2, -1))
    assert align(angles, torch.empty(7)).shape == angles.shape
