"""Stacked experts that lie the other way round on disk, as some are published: known by their shapes."""

import pytest
import torch

from nemo_automodel.components.models.common.checkpoint.expert_rules import StoredExperts
from tests.common.test_expert_rules import EXPERTS, adapter, assert_same


def turned(tensors):
    return {name: t.transpose(1, 2).contiguous() if t.dim() == 3 else t for name, t in tensors.items()}


def as_stored(hidden, width):
    """Rules of experts that lie as in memory, their tensors, and the shapes of these."""
    paths = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj")
    disk = {paths[0]: torch.randn(EXPERTS, 2 * width, hidden), paths[1]: torch.randn(EXPERTS, hidden, width)}
    disk["mlp.experts.gate_up_proj_bias"] = torch.randn(EXPERTS, 2 * width)
    return adapter(*(StoredExperts(path, path) for path in paths)), disk, {n: t.shape for n, t in disk.items()}


@pytest.mark.parametrize(("hidden", "width"), [(6, 4), (8, 4), (4, 4)], ids=["oblong", "square pair", "square down"])
def test_experts_that_lie_the_other_way_round_are_known_by_their_shapes(hidden, width):
    """Of which one may be square: never both."""
    rules, disk, shapes = as_stored(hidden, width)
    assert_same(rules.from_hf(disk, shapes), disk)
    assert_same(rules.from_hf(turned(disk), shapes), disk)
    assert_same(rules.to_hf(rules.from_hf(turned(disk), shapes)), disk)
    assert_same(
        rules.from_hf({f"model.layers.3.{name}": t for name, t in turned(disk).items()}, shapes),
        {f"model.layers.3.{name}": t for name, t in disk.items()},
    )


def test_experts_of_which_some_lie_the_other_way_round_stay_as_they_are():
    """And their shapes are an error of loading."""
    rules, disk, shapes = as_stored(6, 4)
    mixed = {**disk, "mlp.experts.down_proj": turned(disk)["mlp.experts.down_proj"]}
    assert rules.reading(mixed, shapes) is rules
    assert_same(rules.from_hf(mixed, shapes), mixed)


def test_without_shapes_experts_are_as_the_rules_say():
    rules, disk, _ = as_stored(6, 4)
    assert_same(rules.from_hf(turned(disk)), turned(disk))
