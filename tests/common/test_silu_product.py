"""silu(gate) * up of the extension, in the place of PyTorch's formula in a gated MLP."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.recomputed import product
from tests.common.test_recomputed import INNER, MLP, ROWS, WIDTH, as_node, equal, kept, trained
from tests.moe.test_simd import DTYPES, needs


@needs
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_silu_of_the_extension(dtype, monkeypatch):
    """Values and gradients are rounded where PyTorch's are, of a SiLU that is as near to the exact one."""
    as_node(monkeypatch, True)
    gate, up, grad = ((3 * torch.randn(ROWS, INNER)).to(dtype) for _ in range(3))
    found = trained_product(gate, up, grad)
    monkeypatch.setattr(simd, "reads", lambda *_: False)
    as_node(monkeypatch, False)
    plain, exact = trained_product(gate, up, grad), trained_product(gate.double(), up.double(), grad.double())
    for ours, theirs, truth in zip(found, plain, exact, strict=True):
        far = (ours - truth).abs().max()
        assert far <= 1.5 * (theirs - truth).abs().max() and far <= (2**-7 if dtype == torch.bfloat16 else 1e-6) * 40


def trained_product(gate, up, grad):
    """The product, and its gradients by gate and up."""
    gate, up = (one.detach().requires_grad_() for one in (gate, up))
    y = product(gate, up, ACT["silu"])
    y.backward(grad)
    return y.detach(), gate.grad, up.grad


@needs
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_extensions_is_kept_replayed_and_added_up_as_any(dtype, monkeypatch):
    as_node(monkeypatch, True)
    mlp, x = MLP().to(dtype), torch.randn(ROWS, WIDTH, dtype=dtype)
    wanted = trained(mlp, x)
    for reentrant in (False, True):
        assert equal(trained(mlp, x, lambda mlp, x, r=reentrant: checkpoint(mlp, x, use_reentrant=r)), wanted)
    with torch.no_grad():
        assert torch.equal(mlp(x), wanted[0])
    before = kept(mlp, x)
    monkeypatch.setattr(simd, "reads", lambda *_: False)
    assert before == kept(mlp, x)
