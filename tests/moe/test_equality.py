"""The layer against transformers' MoE layers: outputs, gradients, router."""

import pytest
import torch

from tests.moe.reference import REFERENCES, D, build, named, pick

IMPLEMENTATIONS = ("loop", "grouped_mm", "blockwise", "auto")


def close(ours, theirs, name, bound=1e-6):
    error = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30)
    assert error <= bound, f"{name}: {error:.1e} of the largest value"


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", REFERENCES)
def test_layer_and_gradients_equal_transformers(name, implementation):
    theirs, ours = build(name, {"experts": implementation})
    x = torch.randn(3, 11, D)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    expected, y = theirs(inputs[0].clone()), ours(inputs[1])
    expected = (expected[0] if isinstance(expected, tuple) else expected).view_as(x)
    close(y, expected, "output")
    grad = torch.randn_like(x)
    expected.backward(grad)
    y.backward(grad)
    close(inputs[1].grad, inputs[0].grad, "gradient of x", 2e-6)
    grads = named({key: p.grad for key, p in theirs.named_parameters()})
    for key, parameter in ours.named_parameters():
        close(parameter.grad, pick(REFERENCES[name], grads, key), key, 2e-6)
