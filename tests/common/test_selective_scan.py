"""The selective scan by chunks against its specification, and that against the formula of one state."""

import pytest
import torch

from nemo_automodel.components.models.common.selective_scan import chunked, step, stepwise

WIDTH, ENTRIES = 6, 3


def inputs(length=11, dtype=torch.float64, rows=2):
    """x, dt, A, B, C and a state, with decays from almost none to almost all."""
    torch.manual_seed(length)
    dt, A = torch.rand(rows, length, WIDTH) ** 3, -8 * torch.rand(ENTRIES, WIDTH)
    x, state = torch.randn(rows, length, WIDTH), torch.randn(rows, ENTRIES, WIDTH)
    B, C = torch.randn(2, rows, length, ENTRIES).unbind(0)
    return [one.to(dtype).requires_grad_() for one in (x, dt, A, B, C, state)]


def test_the_specification_is_the_formula():
    x, dt, A, B, C, h = (one.detach() for one in inputs(rows=1))
    found, after = stepwise(x, dt, A, B, C, h)
    for t in range(x.shape[1]):
        y = torch.zeros(WIDTH, dtype=x.dtype)
        for n in range(ENTRIES):
            h[0, n] = torch.exp(dt[0, t] * A[n]) * h[0, n] + dt[0, t] * x[0, t] * B[0, t, n]
            y += C[0, t, n] * h[0, n]
        torch.testing.assert_close(found[0, t], y)
    torch.testing.assert_close(after, h)


@pytest.mark.parametrize("length", [1, 4, 11])
@pytest.mark.parametrize("chunk", [4, None])
@pytest.mark.parametrize("case", ["whole", "continued", "packed", "packed_by_row"])
def test_outputs_states_and_gradients(length, chunk, case):
    *given, state = inputs(length)
    numbers = {"packed": [[0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 3]], "packed_by_row": [[0] * 5 + [1] * 6, [0] * 8 + [1] * 3]}
    documents = torch.tensor(numbers[case])[:, :length] if case in numbers else None
    leaves = [*given, *([state] if case == "continued" else [])]
    state = state if case == "continued" else None
    wanted = stepwise(*given, state, documents)
    found = chunked(*given, state, documents, chunk)
    directions = [torch.randn_like(one) for one in wanted]
    grads = [torch.autograd.grad(made, leaves, directions, allow_unused=True) for made in (found, wanted)]
    for ours, theirs in zip((*found, *grads[0]), (*wanted, *grads[1]), strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs)


def test_one_step():
    given = inputs(1)
    torch.testing.assert_close(step(*given), stepwise(*given))


def test_chunks_of_any_size_have_one_order_of_sums():
    given = [one.detach().float() for one in inputs(40)]
    wanted = chunked(*given, chunk=64)
    for chunk in (1, 7, 16):
        found = chunked(*given, chunk=chunk)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))


def test_states_are_fp32_where_the_rest_is_bf16():
    given = [one.detach() for one in inputs(40)]
    rounded = [one.bfloat16() if place in (0, 3, 4) else one.float() for place, one in enumerate(given)]
    found, wanted = chunked(*rounded), stepwise(*(one.double() for one in rounded))
    assert found[0].dtype == found[1].dtype == torch.float32
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_states_of_all_tokens_are_never_held_at_once():
    """What is kept grows by the inputs and a state a chunk."""
    kept, length = [], 256
    given = inputs(length)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        chunked(*given, chunk=16)
    chunks = length // 16
    assert sum(kept) <= sum(one.numel() for one in given) + chunks * given[-1].numel()
