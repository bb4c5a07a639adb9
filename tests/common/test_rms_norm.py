"""RMSNorm as one node of autograd, against the formula under autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_automodel.components.models.common import row_blocks, simd
from nemo_automodel.components.models.common.norm import (
    Float32RMSNorm,
    OffsetFloat32RMSNorm,
    OffsetRMSNorm,
    RMSNorm,
)
from nemo_automodel.components.models.common.rms_norm import rms, rms_norm
from nemo_automodel.components.models.common.row_blocks import as_rows, from_rows, row_order
from tests.moe.test_simd import DTYPES, needs

LAYOUTS = {
    "dense": lambda: torch.randn(3, 50, 32),
    "heads apart": lambda: torch.randn(2, 25, 6, 32).transpose(1, 2),
    "gaps": lambda: torch.randn(2, 25, 12, 32)[:, :, ::2].transpose(1, 2),
    "repeated": lambda: torch.randn(5, 1, 32).expand(5, 30, 32),
    "columns": lambda: torch.randn(40, 64)[:, 8:40],
}


def trained(norm, x, grad):
    """[output, gradient of x, gradient of the weight]."""
    x = x.detach().requires_grad_()
    norm.zero_grad()
    y = norm(x)
    y.backward(grad)
    return y.detach(), x.grad, norm.weight.grad


def as_node_and_formula(norm, x, monkeypatch, node="_RMSNormBackward"):
    grad = torch.randn(x.shape).to(x.dtype)
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 2**30)
    formula = trained(norm, x, grad)
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 700 // torch.get_num_threads())  # about five rows
    assert norm(x.detach().requires_grad_()).grad_fn.name() == node
    return trained(norm, x, grad), formula


@pytest.mark.parametrize("by_blocks", [True, pytest.param(False, marks=needs)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", [RMSNorm, Float32RMSNorm, OffsetRMSNorm, OffsetFloat32RMSNorm])
def test_values_are_the_formulas_and_gradients_its_own(kind, layout, dtype, by_blocks, monkeypatch):
    """Bit for bit; but a mean that the extension rounds once may be another in the last place."""
    if by_blocks:
        monkeypatch.setattr(simd, "reads", lambda *_: False)
    norm, x = kind(32, 1e-5), LAYOUTS[layout]().to(dtype)
    norm.weight.data.normal_()
    (y, *grads), (wanted, *wanted_grads) = as_node_and_formula(norm.to(dtype), x, monkeypatch)
    step = 0.0 if by_blocks else 2**-21 if dtype == torch.float32 else 2**-6
    torch.testing.assert_close(y, wanted, rtol=step, atol=0)
    bound = 1e-5 if dtype == torch.float32 else 0.02
    for grad, other in zip(grads, wanted_grads, strict=True):
        assert (grad - other).norm() <= bound * other.norm()


def test_bfloat16_gradients_are_nearer_to_the_truth(monkeypatch):
    x, norm = torch.randn(200, 32).bfloat16(), RMSNorm(32, 1e-5).to(torch.bfloat16)
    norm.weight.data.normal_()
    torch.manual_seed(1)
    node, formula = as_node_and_formula(norm, x, monkeypatch)
    torch.manual_seed(1)
    _, truth = as_node_and_formula(norm.float(), x.float(), monkeypatch)
    for ours, plain, exact in zip(node[1:], formula[1:], truth[1:], strict=True):
        assert (ours - exact).norm() <= (plain - exact).norm()


@needs
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [RMSNorm, OffsetFloat32RMSNorm])
def test_a_value_does_not_depend_on_who_wants_gradients(kind, dtype, monkeypatch):
    """Nor on threads; the output that is made again on the way back is the first one."""
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 700)
    norm, x = kind(48, 1e-5).to(dtype), torch.randn(70, 48, dtype=dtype)
    y = norm(x.requires_grad_())
    again = y.grad_fn.again(y.grad_fn)
    with torch.no_grad():
        alone, threads = norm(x), torch.get_num_threads()
        try:
            torch.set_num_threads(3)
            assert torch.equal(norm(x), y)
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(alone, y) and torch.equal(again, y)


def test_a_weight_of_one_number_is_that_of_all_columns(monkeypatch):
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 700)
    x, weight = torch.randn(70, 48, requires_grad=True), torch.full((1,), 3.0)
    found = rms_norm(x, weight, 1e-5, rounds_first=True)
    assert found.grad_fn.name() == "_RMSNormBackward"
    torch.testing.assert_close(found, 3.0 * rms(x, 1e-5))


def test_a_compiler_and_a_weight_a_head_get_the_formula(monkeypatch):
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 1)
    norm = RMSNorm((4, 32), 1e-5)
    assert norm(torch.randn(9, 4, 32, requires_grad=True)).grad_fn.name() == "MulBackward0"
    graphs = []
    compiled = torch.compile(RMSNorm(32, 1e-5), backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    compiled(torch.randn(9, 32, requires_grad=True))
    assert "autograd" not in graphs[0].code


@settings(deadline=None, max_examples=60)
@given(st.permutations(range(3)), st.lists(st.integers(1, 4), min_size=4, max_size=4))
def test_rows_and_back(order, shape):
    x = torch.randn(shape).permute(*order, 3)
    found = row_order(x)
    assert torch.equal(from_rows(as_rows(x, found), x, found), x)


@needs
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([RMSNorm, Float32RMSNorm, OffsetRMSNorm, OffsetFloat32RMSNorm]),
    st.sampled_from([16, 48, 272]),
    st.sampled_from([(1, 1), (3, 1), (2, 5, 1)]),
    st.sampled_from(DTYPES),
    st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_of_one_token_each_step_is_rounded_once(kind, width, shape, dtype, size):
    norm = kind(width, 1e-6)
    norm.weight.data.normal_()
    norm, x = norm.to(dtype), (torch.randn(*shape, width) * size).to(dtype)
    with torch.no_grad():
        y = norm(x)
        alone = [norm(row[None]) for row in x.reshape(-1, width)]
    assert (y.shape, y.dtype) == (x.shape, dtype) and torch.equal(torch.cat(alone), y.reshape(-1, width))
    weight = norm.weight.float() if kind in (Float32RMSNorm, OffsetFloat32RMSNorm) else norm.weight
    weight = 1.0 + weight if norm.start == 0.0 else weight
    truth = x.double() / (x.double().square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight.double()
    rounding = 3 * 2**-24  # of the row's scale, of the product with it and of that with the weight
    if dtype == torch.bfloat16:
        rounding += 2**-8 if weight.dtype == torch.float32 else 2**-7
    assert ((y.double() - truth).abs() <= 1.01 * rounding * truth.abs()).all()


@needs
def test_where_one_token_is_read_by_the_extension(monkeypatch):
    monkeypatch.setattr(simd, "rms_norm", None)
    norm, x = RMSNorm(32, 1e-6), torch.randn(2, 3, 1, 32)
    norm(x)  # gradients may follow
    with torch.no_grad():
        for other in (torch.randn(2, 3, 32), torch.randn(32), x[:0], x.double(), torch.randn(2, 1, 64)[..., ::2]):
            norm.to(other.dtype)(other)
        RMSNorm((3, 1), 1e-6)(torch.randn(2, 3, 1)), RMSNorm(24, 1e-6)(torch.randn(2, 1, 24))
        torch.vmap(norm.float())(x)
        with pytest.raises(TypeError, match="not callable"):
            norm(x)
