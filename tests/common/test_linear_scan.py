"""Recurrences of channels: each form against a product and sum of all pairs of tokens, in fp64, with gradients."""

import pytest
import torch

from nemo_automodel.components.models.common.linear_scan import linear_scan, stepwise

FORMS = pytest.mark.parametrize("form", [stepwise, linear_scan])
SHAPES = pytest.mark.parametrize("channels", [(5,), (3, 2)])
DOCUMENTS = [[0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 3]]
TEXT = [[0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]]


def inputs(channels=(5,), length=11):
    torch.manual_seed(0)
    shape, wide = (2, length, *channels), {"dtype": torch.float64}
    made = torch.rand(shape, **wide), torch.randn(shape, **wide), torch.randn(shape[:1] + shape[2:], **wide)
    return [one.requires_grad_() for one in made]


def by_definition(a, b, state, documents=None, text=None):
    """Each token's share of each later one is the product of the decays after it."""
    length, found = a.shape[1], []
    text = torch.ones(a.shape[:2]) if text is None else text
    documents = torch.zeros_like(text) if documents is None else documents.expand(len(a), -1)
    for row in range(len(a)):
        tokens = [place for place in range(length) if text[row, place]]
        for last in range(length):
            number, h = documents[row, last], torch.zeros_like(state[row])
            seen = [place for place in tokens if place <= last and documents[row, place] == number]
            for place in seen:
                h = h + b[row, place] * a[row, [one for one in seen if one > place]].prod(0)
            if number == documents[row, 0]:
                h = h + state[row] * a[row, seen].prod(0)
            found.append(h)
    y = torch.stack(found).view_as(a)
    return y, y[:, -1]


@FORMS
@SHAPES
@pytest.mark.parametrize("case", ["whole", "packed", "packed_by_row", "padded"])
def test_outputs_states_and_gradients(form, channels, case):
    leaves = inputs(channels)
    numbers = {"packed": DOCUMENTS, "packed_by_row": [[0] * 5 + [1] * 6, [0] * 8 + [1] * 3]}
    documents = torch.tensor(numbers[case]) if case in numbers else None
    text = torch.tensor(TEXT) if case == "padded" else None
    found, wanted = (one(*leaves, documents, text) for one in (form, by_definition))
    directions = [torch.randn_like(one) for one in wanted]
    grads = [torch.autograd.grad(made, leaves, directions) for made in (found, wanted)]
    for ours, theirs in zip((*found, *grads[0]), (*wanted, *grads[1]), strict=True):
        torch.testing.assert_close(ours, theirs)


@FORMS
def test_one_token_without_a_past(form):
    a, b, _ = inputs(length=1)
    h, last = form(a, b)
    assert torch.equal(h, b) and torch.equal(last, b[:, 0])


@FORMS
def test_pieces_equal_the_whole(form):
    a, b, state = inputs()
    wanted, last = form(a, b, state)
    before, after = form(a[:, :4], b[:, :4], state)
    found, end = form(a[:, 4:], b[:, 4:], after)
    assert torch.equal(torch.cat((before, found), dim=1), wanted) and torch.equal(end, last)


@FORMS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_states_are_fp32_or_wider(form, dtype):
    wide = torch.promote_types(dtype, torch.float32)
    a, b, state = (one.detach().to(dtype) for one in inputs(length=40))
    found, last = form(a, b, state)
    assert found.dtype == last.dtype == wide
    torch.testing.assert_close(found, stepwise(*(one.to(wide) for one in (a, b, state)))[0])


def test_decays_and_states_alone_are_kept_for_the_backward_pass():
    kept = []
    a, b, state = inputs((64,), length=50)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        linear_scan(a, b, state)
    assert sum(kept) <= 2 * a.numel() + state.numel()
