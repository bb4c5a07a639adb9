"""The rotation, alone and behind a norm: the kernel is the formula."""

import pytest
import torch

from tests.kernels.device import DEVICE, ON_A_CARD, all_close, nearer, trained  # isort: skip
from nemo_automodel.components.models.common.kernels import rope as kernel
from nemo_automodel.components.models.common.rope import (
    RotaryTable,
    apply_rope,
    normed_rope,
    rotate_halves,
    rotate_pairs,
)

SHAPES = {  # B, N, K, S, D, R / 2
    "whole": (2, 6, 2, 5, 12, 6),
    "partial": (2, 3, 3, 5, 12, 3),
    "odd": (1, 5, 1, 3, 7, 2),
    "one token": (2, 4, 2, 1, 8, 4),
    "nothing": (0, 2, 1, 3, 8, 4),
}


def given(shape, tables=1):
    """q and k as views of one packed product, and cosines and sines."""
    torch.manual_seed(0)
    rows, heads, keys, length, width, half = SHAPES[shape]
    packed = torch.randn(rows, length, heads + keys + 1, width, device=DEVICE).requires_grad_()
    table = [torch.randn(rows if tables != 1 else 1, length, half, device=DEVICE) for _ in range(2)]
    return packed, heads, keys, table


def parts(packed, heads, keys):
    return packed[:, :, :heads].transpose(1, 2), packed[:, :, heads : heads + keys].transpose(1, 2)


def by(name, table):
    """The table of a model of that backend."""
    marked = [one.clone() for one in table]
    marked[0].by = name
    return marked


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rotate", [rotate_halves, rotate_pairs])
@pytest.mark.parametrize("options", [{}, {"sign": -1}, {"dtype": torch.float32}], ids=str)
def test_values_and_gradients_are_the_formulas(shape, rotate, options, monkeypatch, guarded):
    monkeypatch.setattr(kernel, "AT_ONCE", 32)  # of six heads two a program
    packed, heads, keys, table = given(shape, tables=len(options) + 1)
    ours, wanted = (
        trained(lambda x, n=n: apply_rope(*parts(x, heads, keys), by(n, table), rotate, **options), packed)
        for n in ("triton", "torch")
    )
    all_close(ours, wanted)
    assert [y.stride() for y in ours] == [y.stride() for y in wanted]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rotate", [rotate_halves, rotate_pairs])
@pytest.mark.parametrize("rounds_first", [True, False])
def test_behind_a_norm(shape, rotate, rounds_first, monkeypatch, guarded):
    monkeypatch.setattr(kernel, "AT_ONCE", 32)
    all_close(*(normed(shape, n, (True, True), rotate=rotate, rounds_first=rounds_first) for n in ("triton", "torch")))


@pytest.mark.parametrize("wanting", [(True, False), (False, True)])
def test_behind_a_norm_one_gradient_is_enough(wanting):
    all_close(*(normed("odd", n, wanting) for n in ("triton", "torch")))


def normed(shape, name, wanting, **options):
    packed, heads, keys, table = given(shape)
    weight = torch.randn(packed.shape[-1], device=DEVICE)
    tensors = [t.detach().requires_grad_(wants) for t, wants in zip((packed, weight), wanting, strict=True)]
    table = by(name, table)
    return trained(lambda x, w: normed_rope(parts(x, heads, keys)[0], w, table, eps=1e-5, **options), *tensors)


def test_a_table_tells_the_backend_of_its_model():
    table, x = RotaryTable(10000.0, 8), torch.randn(1, 2, 8, device=DEVICE)
    q = torch.randn(1, 1, 2, 8, device=DEVICE).requires_grad_()
    for table.by in ("torch", "triton"):
        turned, _ = apply_rope(q, q, table(x, torch.arange(2, device=DEVICE)[None]))
        assert (type(turned.grad_fn).__name__ == "_TurnedBackward") == (table.by == "triton")


def test_what_the_kernel_lacks_is_refused():
    packed, heads, keys, table = given("whole")
    q, k = parts(packed.detach(), heads, keys)

    def other(x, cos, sin):
        return rotate_halves(x, cos, sin)

    with pytest.raises(ValueError, match="backend.rope: 'triton': there is no kernel of other; use 'torch' or 'auto'"):
        apply_rope(q, k, by("triton", table), other)
    with pytest.raises(ValueError, match="a tensor is float64"):
        apply_rope(q.double(), k.double(), by("triton", table))


@ON_A_CARD
@pytest.mark.parametrize("rotate", [rotate_halves, rotate_pairs])
def test_bfloat16_is_nearer_to_the_truth(rotate):
    packed, heads, keys, table = given("whole")
    weight = torch.randn(packed.shape[-1], device=DEVICE).requires_grad_()

    def turned(name):
        def form(x, w):
            q, k = parts(x, heads, keys)
            t = by(name, [one.to(x.dtype) for one in table])
            return normed_rope(q, w, t, eps=1e-5, rotate=rotate), apply_rope(q, k, t, rotate)[1]

        return form

    nearer(turned("triton"), turned("torch"), packed, weight)
