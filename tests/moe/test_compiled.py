"""Experts under torch.compile: one graph in every dtype, and what eager gives."""

import pytest
import torch

from nemo_automodel.components.moe.grouped_linear import grouped_linear
from tests.moe.test_experts import CHOICES, FORMS, experts, inputs, results


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("form", FORMS)
def test_one_graph_and_the_eager_results(form, dtype):
    torch._dynamo.reset()
    given = inputs(CHOICES["spread"], dtype)
    expected = results(experts(dtype=dtype, **FORMS[form]), *given)
    compiled = experts(dtype=dtype, **FORMS[form])
    compiled.compile(fullgraph=True, backend="aot_eager")
    bound = {torch.float32: 1e-5, torch.bfloat16: 0.03, torch.float64: 1e-12}[dtype]
    for name, value in results(compiled, *given).items():
        assert (value - expected[name]).norm() <= bound * expected[name].norm(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inductor_gives_the_same(dtype):
    """It holds operators to the strides that they promise."""
    torch._dynamo.reset()
    given = inputs(CHOICES["some idle"], dtype)
    expected, compiled = results(experts(dtype=dtype), *given), experts(dtype=dtype)
    compiled.compile(fullgraph=True)
    for name, value in results(compiled, *given).items():
        bound = 1e-5 if dtype == torch.float32 else 0.03
        assert (value - expected[name]).norm() <= bound * expected[name].norm(), name


@pytest.mark.parametrize("choices", ["some idle", "foreign", "nobody"])
def test_experts_without_tokens(choices):
    torch._dynamo.reset()
    given = inputs(CHOICES[choices])
    compiled = experts()
    compiled.compile(fullgraph=True, backend="aot_eager")
    expected = results(experts("loop"), *given)
    for name, value in results(compiled, *given).items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("ends", [[3, 3, 7], [0, 0, 0], [9, 9, 9]])
def test_the_operator_keeps_pytorchs_rules(ends):
    x, weights = torch.randn(9, 5, requires_grad=True), torch.randn(3, 4, 5, requires_grad=True)
    given = (x, weights, torch.tensor(ends, dtype=torch.int32))
    torch.library.opcheck(grouped_linear, given)
    assert grouped_linear(*given)[ends[-1] :].abs().sum() == 0
