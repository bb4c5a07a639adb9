"""Where these tests run: on a card, or under Triton's interpreter in a process of their own (`make triton`)."""

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: run `make triton`")

from nemo_automodel.components.models.common import kernels  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu" and not kernels.interpreted():
    pytest.skip("no card, and TRITON_INTERPRET is not 1: run `make triton`", allow_module_level=True)

BOUND = 1e-5  # of the largest value, in fp32


def close(ours, wanted):
    """Equal in shape, dtype and strides, and in values up to the bound."""
    assert (ours.shape, ours.dtype) == (wanted.shape, wanted.dtype)
    if wanted.numel():
        difference = (ours - wanted).abs()
        assert difference.max() <= BOUND * max(1.0, wanted.abs().max().item()), difference.max()


def all_close(ours, wanted):
    for one, other in zip(ours, wanted, strict=True):
        close(one, other)


def trained(form, *tensors):
    """Outputs of form(*tensors), and gradients of those tensors that want one, of a loss that is no plain sum."""
    leaves = [t.detach().requires_grad_(t.requires_grad) for t in tensors]
    made = form(*leaves)
    made = made if isinstance(made, tuple) else (made,)
    loss = sum((y * torch.linspace(-1, 2, y.numel(), device=y.device).view_as(y).to(y.dtype)).sum() for y in made)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return [y.detach() for y in made] + list(torch.autograd.grad(loss, wanted))


def nearer(form, plain, *tensors):
    """In bfloat16, on a card: outputs and gradients of `form` are no farther from the fp64 truth than `plain`'s."""
    given = [t.bfloat16() for t in tensors]
    truth = trained(plain, *(t.double() for t in given))
    for ours, theirs, exact in zip(trained(form, *given), trained(plain, *given), truth, strict=True):
        assert (ours.double() - exact).norm() <= 1.01 * (theirs.double() - exact).norm()


ON_A_CARD = pytest.mark.skipif(DEVICE == "cpu", reason="Triton's interpreter does not round to bfloat16 as a card does")
