"""The extension's products against exact ones, at every edge of its tiles; and what is said where it cannot run."""

import shutil
from collections import Counter
from inspect import unwrap

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_automodel.components.models.common import simd
from tests.moe.test_experts import CHOICES, experts, inputs, results

DTYPES = [dtype for dtype in simd.FEATURES["avx2"] if simd.suitable(dtype)]
# Where both are there, a build that failed is a failure and no reason to skip.
needs = pytest.mark.skipif(
    not (DTYPES and shutil.which("c++")),
    reason="no processor with AVX2, or no C++ compiler that could have built it",
)
SIZES = st.sampled_from([16, 48, 64, 80, 272, 304, 528])  # about lanes, tiles, and what one task makes of a gradient
ROWS = st.lists(st.sampled_from([0, 1, 2, 5, 6, 7, 13, 255, 257, 511, 513, 1030]), min_size=1, max_size=4)
SENTINEL = 7.0
ALL_BUILDS = simd.suitable  # which tests restrict


@pytest.fixture(autouse=True, scope="module", params=simd.suitable(torch.float32))
def build(request):
    """Each that this processor runs, for the dtypes that it has there; else the next."""
    suitable = simd.suitable
    remember = simd._path, simd._function, simd.is_best, simd.has_fast_products, simd.is_best_of_many_rows
    simd.suitable = lambda dtype: [name for name in suitable(dtype) if name >= request.param]
    for one in remember:
        one.cache_clear()
    yield request.param
    simd.suitable = suitable
    for one in remember:
        one.cache_clear()


def block_of(rows):
    return [(expert, size) for expert, size in enumerate(rows) if size]


def guarded(shape, dtype, offset=3):
    """(the whole, a contiguous part of it of that shape): nothing but the part may be written."""
    count = torch.Size(shape).numel()
    whole = torch.full((count + offset + 64,), SENTINEL, dtype=dtype)
    return whole, whole[offset : offset + count].view(shape)


def assert_exact(found, exact, magnitude, steps):
    """Within the rounding of `steps` fp32 additions, and of the result to its dtype."""
    rounding = 2**-8 if found.dtype == torch.bfloat16 else 2**-24
    assert ((found.double() - exact).abs() <= 1.01 * rounding * exact.abs() + steps * 2**-24 * magnitude).all()


def assert_untouched(whole, part):
    part.fill_(SENTINEL)
    assert (whole == SENTINEL).all()


@needs
@settings(max_examples=60, deadline=None)
@given(ROWS, SIZES, SIZES, st.booleans(), st.booleans(), st.sampled_from(DTYPES), st.integers(0, 2**31))
def test_products(rows, inner, outer, is_transposed, has_bias, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator).to(dtype)  # noqa: E731
    x, bias = draw(sum(rows), inner), draw(len(rows), outer) if has_bias else None
    weights = draw(len(rows), outer, inner).transpose(1, 2) if is_transposed else draw(len(rows), inner, outer)
    whole, out = guarded((len(x), outer), dtype)
    assert simd.products(x, weights, block_of(rows), out, bias) is out
    for e, (a, y) in enumerate(zip(x.double().split(rows), out.split(rows), strict=True)):
        added = bias[e].double() if has_bias else torch.zeros(outer, dtype=torch.double)
        magnitude = a.abs() @ weights[e].double().abs() + added.abs()
        assert_exact(y, a @ weights[e].double() + added, magnitude, inner + 1)
    assert_untouched(whole, out)


@needs
@settings(max_examples=60, deadline=None)
@given(ROWS, SIZES, SIZES, st.sampled_from([0, 1]), st.sampled_from(DTYPES), st.integers(0, 2**31))
def test_gradients(rows, height, width, offset, dtype, seed):
    """At an address that lies on a cache line, where lines are written past the caches, and at one that does not."""
    generator = torch.Generator().manual_seed(seed)
    grad, x = (torch.randn((sum(rows), size), generator=generator).to(dtype) for size in (height, width))
    whole, out = guarded((len(rows), height, width), dtype, offset)
    simd.grad_products(grad, x, block_of(rows), out)
    for g, a, found in zip(grad.double().split(rows), x.double().split(rows), out, strict=True):
        if len(g):
            assert_exact(found, g.t() @ a, g.abs().t() @ a.abs(), len(g))
        else:
            assert (found == SENTINEL).all()
    assert_untouched(whole, out)


@needs
@pytest.mark.parametrize("name", ["products", "few_rows"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_company_nor_threads_change_a_row(name, dtype):
    torch.manual_seed(0)
    x, weights = torch.randn(20, 96).to(dtype), torch.randn(1, 96, 80).to(dtype)
    weights = weights if name == "products" else weights.transpose(1, 2).contiguous()
    by = getattr(simd, name)
    product = lambda rows: by(rows, weights, [(0, len(rows))], rows.new_empty(len(rows), 80))  # noqa: E731
    together, threads = product(x), torch.get_num_threads()
    assert all(torch.equal(product(row[None])[0], expected) for row, expected in zip(x, together, strict=True))
    try:
        torch.set_num_threads(3)
        assert torch.equal(product(x), together)
    finally:
        torch.set_num_threads(threads)


def exact_swiglu(h, factors, grad):
    """(rows, gradients by h and by factors) in float64."""
    h, factors = h.double().requires_grad_(), factors.double().requires_grad_()
    gate, up = h.chunk(2, dim=1)
    y = torch.nn.functional.silu(gate) * up * factors
    return y.detach(), *torch.autograd.grad(y, (h, factors), grad.double())


@needs
@pytest.mark.parametrize("rows", [1, 37])
@pytest.mark.parametrize("width", [16, 80])
@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_and_its_gradients(rows, width, dtype):
    torch.manual_seed(0)
    h, grad = (4 * torch.randn(rows, 2 * width)).to(dtype), torch.randn(rows, width).to(dtype)
    factors = torch.rand(rows, 1).to(dtype)
    exact = exact_swiglu(h, factors, grad)
    found = simd.swiglu_backward(h, factors, grad)
    assert torch.equal(found[0], simd.swiglu(h, factors))
    for value, expected in zip(found, exact, strict=True):
        assert value.dtype == dtype
        bound = 2**-8 if dtype == torch.bfloat16 else 1e-6
        torch.testing.assert_close(value.double(), expected, rtol=bound, atol=bound * expected.abs().max().item() / 32)


@needs
def test_swiglu_at_the_ends_of_its_range():
    gate = torch.tensor([-1e30, -200.0, -104.0, -88.5, -20.0, -1e-30, 0.0, 1e-30, 20.0, 88.5, 104.0, 200.0, 1e30])
    h = torch.cat([torch.nn.functional.pad(gate, (0, 3)), torch.ones(16)])[None]
    factors, grad = torch.ones(1, 1), torch.ones(1, 16)
    exact = exact_swiglu(h, factors, grad)
    found = simd.swiglu_backward(h, factors, grad)
    assert all(value.isfinite().all() for value in found)
    torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[1].double(), exact[1], rtol=1e-6, atol=1e-6)
    h[0, 3] = float("nan")
    spoiled = simd.swiglu(h, factors)[0].isnan()
    assert spoiled[3] and spoiled.sum() == 1


@needs
def test_what_it_would_misread_is_refused():
    x, weights, out = torch.randn(4, 32), torch.randn(1, 32, 32), torch.empty(32, 4).t()
    with pytest.raises(ValueError, match="not a contiguous tensor of torch.float32: torch.float32, strides"):
        simd.products(x, weights, [(0, 4)], out)
    with pytest.raises(ValueError, match="torch.bfloat16"):
        simd.products(x, weights, [(0, 4)], torch.empty(4, 32), torch.zeros(1, 32).bfloat16())
    with pytest.raises(ValueError, match="simd: no torch.float64; only float32 and bfloat16"):
        experts("simd").double()(torch.randn(1, 16).double(), torch.tensor([[0, 1]]), torch.ones(1, 2).double())


@needs
@pytest.mark.parametrize(("is_fast", "products"), [(True, 4), (False, 0)])
def test_it_is_used_where_it_fits(is_fast, products, monkeypatch):
    """Products forwards by up and down, backwards by both; SwiGLU between them also where PyTorch's products are
    faster."""
    calls = Counter()
    for name in ("products", "swiglu"):
        real = getattr(simd, name)
        monkeypatch.setattr(simd, name, lambda *rest, real=real, name=name: calls.update([name]) or real(*rest))
    monkeypatch.setattr(simd, "has_fast_products", lambda dtype: is_fast)
    found = results(experts(), *inputs(CHOICES["spread"]))
    assert calls == Counter(swiglu=1, products=products)
    expected = results(experts("torch"), *inputs(CHOICES["spread"]))
    assert calls == Counter(swiglu=1, products=products)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], msg=name)


def test_in_fp32_products_of_avx2_are_no_faster(monkeypatch):
    features = dict.fromkeys(("avx2", "fma3", "avx512_f", "avx512_bw", "avx512_vl"), True)
    on_a_processor(monkeypatch, **features)
    monkeypatch.setattr(simd, "suitable", ALL_BUILDS)
    assert simd.has_fast_products(torch.float32) and simd.has_fast_products(torch.bfloat16)
    on_a_processor(monkeypatch, avx2=True, fma3=True)
    assert not simd.has_fast_products(torch.float32) and simd.has_fast_products(torch.bfloat16)


@pytest.mark.parametrize(
    ("fields", "is_fused"),
    [
        ({}, True),
        ({"expert_activation": "gelu"}, False),
        ({"expert_kind": "plain"}, False),
        ({"glu_limit": 7.0}, False),
        ({"glu_alpha": 1.0}, False),
        ({"glu_up_offset": 1}, False),
    ],
)
def test_only_swiglu_is_taken_for_it(fields, is_fused):
    assert experts(**fields).activate.is_swiglu == is_fused


def on_a_processor(monkeypatch, path="here", **features):
    monkeypatch.setattr(simd, "_features", lambda: features)
    monkeypatch.setattr(simd, "_path", lambda dtype: path)
    for name in ("is_best", "has_fast_products"):  # which remember
        monkeypatch.setattr(simd, name, unwrap(getattr(simd, name)))


def test_reasons(monkeypatch):
    every = dict.fromkeys(simd.FEATURES["avx2"][torch.float32], True)
    on_a_processor(monkeypatch, path=None, **every)
    assert "extension was not built, or of older sources" in simd.why_not(torch.float32, 16)
    on_a_processor(monkeypatch, **every)
    assert simd.why_not(torch.float32, 16, 32) is None
    assert simd.why_not(torch.float32, 16, 24, 33) == "sizes must be multiples of 16, not 24, 33"
    on_a_processor(monkeypatch, **every | {"fma3": False})
    assert simd.why_not(torch.bfloat16) == "needs a processor with avx2, fma3"
    on_a_processor(monkeypatch, **every, amx_bf16=True)
    assert simd.is_best(torch.float32) and not simd.is_best(torch.bfloat16)


@pytest.mark.parametrize(
    ("features", "fp32", "bf16"),
    [
        ("", [], []),
        ("avx2 fma3", ["avx2"], ["avx2"]),
        ("avx2 fma3 avx512_f avx512_bw avx512_vl", ["avx512", "avx2"], ["avx2"]),
        ("avx2 fma3 avx512_f avx512_bw avx512_vl avx512_bf16", ["avx512", "avx2"], ["avx512", "avx2"]),
    ],
)
def test_the_best_build_that_a_processor_runs(monkeypatch, build, features, fp32, bf16):
    on_a_processor(monkeypatch, **dict.fromkeys(features.split(), True))
    here = lambda names: [name for name in names if name >= build]  # noqa: E731
    assert (simd.suitable(torch.float32), simd.suitable(torch.bfloat16)) == (here(fp32), here(bf16))


def test_elsewhere_auto_takes_pytorchs_products_and_its_name_is_refused(monkeypatch):
    on_a_processor(monkeypatch, path=None)
    given_ = inputs(CHOICES["spread"])
    expected = results(experts("blockwise"), *given_)
    for name, value in results(experts(), *given_).items():
        assert torch.equal(value, expected[name]), name
    with pytest.raises(ValueError, match="backend.experts: simd: .*; use auto"):
        experts("simd")(*given_)
    with pytest.raises(ValueError, match="simd cannot train the parameters of xielu; use loop"):
        experts("simd", expert_activation="xielu")


@needs
def test_one_of_older_sources_is_none(monkeypatch):
    assert simd._path(torch.float32)
    monkeypatch.setitem(simd.ARGUMENTS, "what comes next", [])
    assert unwrap(simd._path)(torch.float32) is None


@needs
def test_it_is_built():
    assert [simd.why_not(dtype) for dtype in DTYPES] == [None] * len(DTYPES)
