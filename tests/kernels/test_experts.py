"""Rows on their way to experts and back: the kernels are the formula; and a mixture by them is the specification's."""

import pytest
import torch

from tests.kernels.device import DEVICE, ON_A_CARD, all_close, nearer, trained  # isort: skip
from nemo_automodel.components.moe import kernels
from nemo_automodel.components.moe.routed import GATHERED, SUMMED, Routed
from tests.moe.test_experts import CHOICES, FORMS, experts, inputs, results

CASES = {  # tokens, choices of each, experts, experts that are here, width
    "all here": (7, 2, 5, 5, 13),
    "some elsewhere": (7, 3, 5, 3, 21),
    "none here": (3, 1, 4, 1, 8),
    "one choice": (5, 1, 3, 3, 1),
    "no token": (0, 2, 4, 4, 8),
}


def given(case):
    torch.manual_seed(0)
    tokens, k, experts, here, width = CASES[case]
    first = 1 if case == "none here" else 0
    indices = torch.rand(tokens, experts - first, device=DEVICE).topk(k).indices + first
    x, weights = torch.randn(tokens, width, device=DEVICE), torch.rand(tokens, k, device=DEVICE)
    return Routed.by(indices, here), x.requires_grad_(), weights.requires_grad_()


def there_and_back(by, routed):
    """Rows are changed each in its way, as experts do."""

    def form(x, weights):
        rows = GATHERED[by](x, routed)
        factors = torch.linspace(0.5, 2, len(rows), device=x.device, dtype=x.dtype)[:, None]
        return SUMMED[by]((rows.sin() * factors).masked_fill(~routed.here, 0), weights, routed)

    return form


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_the_formulas(case, monkeypatch, guarded):
    monkeypatch.setattr(kernels, "BLOCK", 8)
    routed, x, weights = given(case)
    all_close(*(trained(there_and_back(by, routed), x, weights) for by in ("triton", "torch")))


@pytest.mark.parametrize("wanting", [(True, False), (False, True)])
def test_one_gradient_is_enough(wanting):
    routed, *tensors = given("some elsewhere")
    tensors = [t.detach().requires_grad_(wants) for t, wants in zip(tensors, wanting, strict=True)]
    all_close(*(trained(there_and_back(by, routed), *tensors) for by in ("triton", "torch")))


def test_strided_tokens():
    routed, x, weights = given("all here")
    turned = x.detach().T.contiguous().T.requires_grad_()
    all_close(*(trained(there_and_back(by, routed), turned, weights) for by in ("triton", "torch")))


def test_other_dtypes_are_refused():
    routed, x, weights = given("all here")
    with pytest.raises(ValueError, match="backend.experts: 'triton': a tensor is float64"):
        GATHERED["triton"](x.double(), routed)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("choices", CHOICES)
def test_a_mixture_is_the_specifications(form, choices):
    given = [t.to(DEVICE) for t in inputs(CHOICES[choices])]
    found, wanted = (results(experts(by, **FORMS[form]).to(DEVICE), *given) for by in ("triton", "loop"))
    for name, ours in found.items():
        torch.testing.assert_close(ours, wanted[name], rtol=1e-4, atol=1e-4)


@ON_A_CARD
def test_bfloat16_is_nearer_to_the_truth():
    routed, x, weights = given("some elsewhere")
    nearer(there_and_back("triton", routed), there_and_back("torch", routed), x, weights)
