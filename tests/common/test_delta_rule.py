"""The gated delta rule by chunks against its specification, token by token."""

import pytest
import torch

from nemo_automodel.components.models.common.delta_chunk import BASE, inverse
from nemo_automodel.components.models.common.delta_rule import CHUNK, delta_rule, delta_rule_stepwise, form

CASES = pytest.mark.parametrize("by", ["head", "channel"])


def inputs(by, length, dtype=torch.float64, strong=8.0):
    """q, k, v, decay, beta and a state, with decays from almost none to almost all."""
    torch.manual_seed(length)
    keys, heads, width, values = (4 if by == "channel" else 2), 4, 6, 5
    shapes = (2, length, keys, width), (2, length, keys, width), (2, length, heads, values)
    q, k, v = (torch.randn(shape, dtype=dtype) for shape in shapes)
    decay = -strong * torch.rand(2, length, heads, *[width] * (by == "channel"), dtype=dtype) ** 4
    beta, state = torch.rand(2, length, heads, dtype=dtype), torch.randn(2, heads, width, values, dtype=dtype)
    return [one.requires_grad_() for one in (q, k, v, decay, beta, state)]


def answers(rule, leaves, documents=None, from_state=True):
    """Outputs, the last state, and the gradients of a sum of both."""
    *given, state = leaves
    y, last = rule(*given, state=state if from_state else None, documents=documents)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    total = (y * weights).sum() + (last * last).sum()
    return y, last, *torch.autograd.grad(total, leaves if from_state else given)


@CASES
@pytest.mark.parametrize("length", [1, 2, 7, CHUNK, CHUNK + 1, 2 * CHUNK + 21])
@pytest.mark.parametrize("packed", [False, True])
def test_outputs_states_and_gradients(by, length, packed):
    leaves = inputs(by, length)
    documents = (torch.rand(2, length) < 0.05).cumsum(-1) if packed else None
    wanted = answers(delta_rule_stepwise, leaves, documents)
    torch.testing.assert_close(answers(delta_rule, leaves, documents), wanted)
    with torch.no_grad():
        found = delta_rule(*leaves[:5], state=leaves[5], documents=documents)
    torch.testing.assert_close(found, tuple(wanted[:2]))


@CASES
@pytest.mark.parametrize("packed", [False, True])
def test_gradients_by_differences(by, packed):
    leaves = inputs(by, 5)
    documents = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 2]]) if packed else None
    assert torch.autograd.gradcheck(
        lambda *given: delta_rule(*given[:5], state=given[5], documents=documents), leaves, fast_mode=True
    )


@pytest.mark.parametrize("length", [1, 2, BASE, BASE + 5, CHUNK])
def test_inverses_of_systems_whose_keys_are_alike(length):
    """Powers of such a system are large before they vanish; what lies on and above its diagonal counts for nothing."""
    torch.manual_seed(0)
    keys = torch.nn.functional.normalize(1 + 0.3 * torch.randn(3, length, 32), dim=-1)
    system = keys @ keys.mT
    wanted = torch.linalg.inv(system.double().tril(-1) + torch.eye(length))
    assert (inverse(system) - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@CASES
def test_without_a_state_it_starts_from_nothing(by):
    leaves = inputs(by, 70)
    wanted = answers(delta_rule_stepwise, leaves, from_state=False)
    torch.testing.assert_close(answers(delta_rule, leaves, from_state=False), wanted)


@CASES
def test_documents_are_as_if_alone(by):
    *given, _ = inputs(by, 100)
    documents = torch.tensor([0] * 30 + [1] * 40 + [2] * 30)[None]
    found, last = delta_rule(*given, documents=documents)
    alone = [delta_rule(*one) for one in zip(*(t.split((30, 40, 30), dim=1) for t in given), strict=True)]
    torch.testing.assert_close(found, torch.cat([y for y, _ in alone], dim=1))
    torch.testing.assert_close(last, alone[-1][1])


@CASES
def test_decays_that_leave_nothing_do_not_overflow(by):
    leaves = inputs(by, CHUNK + 3, torch.float32, strong=2000.0)
    found = answers(delta_rule, leaves)
    truth = answers(delta_rule_stepwise, [one.detach().double().requires_grad_() for one in leaves])
    for ours, true in zip(found, truth, strict=True):
        assert (ours - true).abs().max() <= 1e-5 * true.abs().max()


def test_strong_decays_have_gradients_as_small_as_they_are():
    """A rate's gradient is a sum of decays times their gradients, of which rounding errors must not be the most."""
    leaves = inputs("head", 40, torch.float32)
    *given, decay, beta, _ = leaves
    with torch.no_grad():
        decay.copy_(-10 - 20 * torch.rand_like(decay))

    def of_rate(rule, dtype):
        q, k, v, g, b = (one.detach().to(dtype).requires_grad_() for one in (*given, decay, beta))
        y, _ = rule(q, k, v, g, b)
        return (torch.autograd.grad(y.square().sum(), g)[0] * g).sum()

    wanted = of_rate(delta_rule_stepwise, torch.float64)
    assert (of_rate(delta_rule, torch.float32) - wanted).abs() <= 1e-4 * wanted.abs()


def test_low_precision_is_rounded_once():
    leaves = [one.detach().bfloat16() for one in inputs("head", 70)]
    y, state = delta_rule(*leaves[:5], state=leaves[5].float())
    wanted, last = delta_rule_stepwise(*(one.double() for one in leaves[:5]), state=leaves[5].double())
    assert (y.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y, wanted.bfloat16(), rtol=2**-7, atol=1e-5)
    torch.testing.assert_close(state.double(), last, rtol=1e-4, atol=1e-5)


def test_what_is_kept_for_the_way_back_are_inputs_and_states():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        delta_rule(*inputs("head", 3 * CHUNK)[:5])
    assert len(kept) == 5 + 3


def test_a_missing_package_says_so():
    with pytest.raises(ImportError, match="needs the package flash-linear-attention"):
        form("fla")
