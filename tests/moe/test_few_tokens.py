"""Experts of a few tokens without gradients: products that read weights once, and the loop's results."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.moe import experts as module
from tests.moe.test_experts import experts
from tests.moe.test_simd import DTYPES, SIZES, assert_exact, assert_untouched, block_of, guarded, needs

ROWS = st.lists(st.sampled_from([0, 1, 2, 4, 5, 7, 8, 9, 17]), min_size=1, max_size=4)


@needs
@settings(max_examples=60, deadline=None)
@given(ROWS, SIZES, SIZES, st.booleans(), st.sampled_from(DTYPES), st.integers(0, 2**31))
def test_products(rows, inner, outer, has_bias, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator).to(dtype)  # noqa: E731
    x, weights = draw(sum(rows), inner), draw(len(rows), outer, inner)
    bias = draw(len(rows), outer) if has_bias else None
    whole, out = guarded((len(x), outer), dtype)
    assert simd.few_rows(x, weights, block_of(rows), out, bias) is out
    for e, (a, y) in enumerate(zip(x.double().split(rows), out.split(rows), strict=True)):
        added = bias[e].double() if has_bias else torch.zeros(outer, dtype=torch.double)
        magnitude = a.abs() @ weights[e].double().abs().T + added.abs()
        assert_exact(y, a @ weights[e].double().T + added, magnitude, inner + 1)
    assert_untouched(whole, out)


@needs
@pytest.mark.parametrize("tokens", [1, 3, 16])
@pytest.mark.parametrize("fields", [{}, {"expert_bias": True}, {"expert_kind": "plain"}, {"glu_limit": 1.0}])
def test_they_are_the_loop(fields, tokens, monkeypatch):
    taken = []
    monkeypatch.setattr(module, "few_tokens", lambda *given: taken.append(0) or FEW_TOKENS(*given))
    torch.manual_seed(tokens)
    ours, loop = experts(**fields), experts("loop", **fields)
    loop.load_state_dict(ours.state_dict())
    count, width = ours.num_experts, ours.config.dim
    x, weights = torch.randn(tokens, width), torch.rand(tokens, 2)
    indices = torch.rand(tokens, count + 1).topk(2).indices  # the last id belongs to no expert here
    with torch.no_grad():
        torch.testing.assert_close(ours(x, indices, weights), loop(x, indices, weights), rtol=1e-5, atol=1e-5)
    assert taken == [0]
    ours(x, indices, weights).sum().backward()  # with gradients they are computed otherwise
    assert taken == [0]


@needs
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 3), SIZES, SIZES, st.sampled_from(DTYPES), st.integers(0, 2**31))
def test_gated_experts_in_one_call_are_exact_and_a_token_knows_no_other(tokens, k, width, inner, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    x, weights = draw(tokens, width).to(dtype), draw(tokens, k)
    up, down = draw(4, 2 * inner, width).to(dtype) / 4, draw(4, width, inner).to(dtype) / 4
    indices = torch.rand(tokens, 5, generator=generator).topk(k).indices  # the last id belongs to no expert here
    y = simd.few_tokens(x, indices, weights, up, down)
    for token in range(tokens):
        row = slice(token, token + 1)
        assert torch.equal(y[row], simd.few_tokens(x[row], indices[row], weights[row], up, down))
        chosen = [(e, weight) for e, weight in zip(indices[token], weights[token], strict=True) if e < 4]
        exact, magnitude = sum_of_experts(x[token], up, down, chosen)
        rounding = 2**-6 if dtype == torch.bfloat16 else 2**-17  # of each product, and of what lies between them
        assert ((y[token].double() - exact).abs() <= rounding * magnitude).all()


def sum_of_experts(x, up, down, chosen):
    """In fp64, and its largest terms: what rounding is relative to."""
    exact = magnitude = torch.zeros(len(x), dtype=torch.double)
    for expert, weight in chosen:
        gate, value = (up[expert].double() @ x.double()).chunk(2)
        hidden, largest = torch.nn.functional.silu(gate) * value, (gate * value).abs()
        exact = exact + weight * (down[expert].double() @ hidden)
        magnitude = magnitude + weight.abs() * (down[expert].double().abs() @ largest)
    return exact, magnitude


FEW_TOKENS = module.few_tokens
