"""Sums with a decay by head: each form against a formula of its own, in fp64, with gradients."""

import pytest
import torch

from nemo_automodel.components.models.common.chunked_decay import chunked, step, stepwise

FORMS = pytest.mark.parametrize("form", [stepwise, lambda *given: chunked(*given, chunk=4), chunked])


def inputs(length=11, dtype=torch.float64, decay=2.0):
    torch.manual_seed(0)
    shapes = (2, length, 2, 5), (2, length, 2, 5), (2, length, 6, 3), (2, length, 6), (2, 6, 5, 3)
    made = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    made[3] = -decay * made[3].abs()
    return [one.to(dtype).requires_grad_() for one in made]


def by_definition(q, k, v, a, state=None, documents=None):
    """A sum over pairs of positions; each state's share decays from the start."""
    q, k = (one.repeat_interleave(3, dim=2) for one in (q, k))
    length = v.shape[1]
    total = torch.nn.functional.pad(a.cumsum(1), (0, 0, 1, 0))[:, 1:]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    weights = torch.where(earlier[None, :, :, None], (total[:, :, None] - total[:, None]).clamp(max=0).exp(), 0)
    if documents is not None:
        weights = weights * (documents[:, :, None] == documents[:, None])[..., None]
    y = torch.einsum("bthn,bshn,btsh,bshp->bthp", q, k, weights, v)
    after = torch.einsum("bsh,bshn,bshp->bhnp", weights[:, -1], k, v)
    if state is not None:
        y = y + torch.einsum("bthn,bhnp,bth->bthp", q, state, total.exp())
        after = after + state * total[:, -1, :, None, None].exp()
    return y, after


@FORMS
@pytest.mark.parametrize("length", [1, 4, 11])
@pytest.mark.parametrize("case", ["whole", "continued", "packed", "packed_by_row"])
def test_outputs_states_and_gradients(form, length, case):
    *given, state = inputs(length)
    state = state if case == "continued" else None
    numbers = {"packed": [[0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 3]], "packed_by_row": [[0] * 5 + [1] * 6, [0] * 8 + [1] * 3]}
    documents = torch.tensor(numbers[case])[:, :length] if case in numbers else None
    leaves = [*given, *([] if state is None else [state])]
    found, wanted = form(*given, state, documents), by_definition(*given, state, documents)
    directions = [torch.randn_like(one) for one in wanted]
    grads = [torch.autograd.grad(made, leaves, directions, allow_unused=True) for made in (found, wanted)]
    for ours, theirs in zip((*found, *grads[0]), (*wanted, *grads[1]), strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs)


@pytest.mark.parametrize("packed", [False, True])
def test_gradients_by_differences(packed):
    documents = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 2]]) if packed else None
    assert torch.autograd.gradcheck(lambda *given: chunked(*given, documents, chunk=4), inputs(6), fast_mode=True)


def test_strong_decays_have_gradients_as_small_as_they_are():
    """A rate's gradient is a sum of decays times their gradients, of which rounding errors must not be the most."""
    q, k, v, _, _ = inputs(40)
    a = -10 - 20 * torch.rand(2, 40, 6, dtype=torch.float64)

    def of_rate(form, dtype):
        given = [one.detach().to(dtype).requires_grad_() for one in (q, k, v, a)]
        y, _ = form(*given)
        return (torch.autograd.grad(y.square().sum(), given[-1])[0] * given[-1]).sum()

    wanted = of_rate(stepwise, torch.float64)
    assert (of_rate(chunked, torch.float32) - wanted).abs() <= 1e-4 * wanted.abs()


def test_one_step():
    given = inputs(1)
    for ours, theirs in zip(step(*given), stepwise(*given), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_strong_decay_leaves_those_after_it_exact():
    """A step that forgets all, at the start of a chunk: differences of running sums in fp32 would lose the rest."""
    q, k, v, a, _ = (one.detach() for one in inputs(60, decay=0.01))
    a[:, 0] = -20000.0
    exact = by_definition(q, k, v, a)
    found = chunked(*(one.float() for one in (q, k, v, a)))
    for ours, theirs in zip(found, exact, strict=True):
        assert (ours.double() - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def test_nothing_overflows():
    q, k, v, a, _ = inputs(64, torch.float32, decay=300.0)
    made = chunked(q, k, v, a)
    grads = torch.autograd.grad([one.sum() for one in made], [q, k, v, a])
    assert all(one.isfinite().all() for one in (*made, *grads))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_sums_in_fp32(dtype):
    given = [one.detach().to(dtype) for one in inputs()[:4]]
    y, state = chunked(*given)
    assert y.dtype == state.dtype == torch.float32
    torch.testing.assert_close(y, by_definition(*(one.double() for one in given))[0].float())
