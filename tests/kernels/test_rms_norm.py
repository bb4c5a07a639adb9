"""RMSNorm, with the addition before it or without: the kernel is the formula."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from tests.kernels.device import DEVICE, ON_A_CARD, all_close, nearer, trained  # isort: skip
from nemo_automodel.components.models.common.forgetting import products
from nemo_automodel.components.models.common.kernels import rms_norm as kernel
from nemo_automodel.components.models.common.norm import (
    Float32RMSNorm,
    OffsetFloat32RMSNorm,
    OffsetRMSNorm,
    RMSNorm,
)
from nemo_automodel.components.models.common.rms_norm import FORMS, add_rms_norm

KINDS = [RMSNorm, Float32RMSNorm, OffsetRMSNorm, OffsetFloat32RMSNorm]
LAYOUTS = {
    "dense": lambda: torch.randn(3, 5, 37),
    "one row": lambda: torch.randn(37),
    "heads apart": lambda: torch.randn(2, 5, 6, 37).transpose(1, 2),
    "gaps": lambda: torch.randn(2, 5, 12, 40)[:, :, ::2, 2:39].transpose(1, 2),
    "repeated": lambda: torch.randn(5, 1, 37).expand(5, 3, 37),
    "turned": lambda: torch.randn(37, 7).T,
    "many dimensions": lambda: torch.randn(2, 3, 2, 3, 37).transpose(0, 3),
    "one entry": lambda: torch.randn(3, 1),
    "nothing": lambda: torch.randn(0, 5, 37),
}


def given(layout="dense"):
    torch.manual_seed(0)
    x = LAYOUTS[layout]().to(DEVICE)
    return x.requires_grad_(), torch.randn(x.shape[-1], device=DEVICE).requires_grad_()


def form(by, rounds_first=True):
    return lambda x, weight: FORMS[by](x, weight, 1e-5, rounds_first=rounds_first)


def sums(by, rounds_first=True):
    return lambda x, y, weight: add_rms_norm(x, y, weight, 1e-5, rounds_first=rounds_first, by=by)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rounds_first", [True, False])
def test_values_and_gradients_are_the_formulas(layout, rounds_first, monkeypatch, guarded):
    monkeypatch.setattr(kernel, "AT_ONCE", 128)  # two rows a program
    monkeypatch.setattr(kernel, "PROGRAMS", 2)
    x, weight = given(layout)
    ours, wanted = (trained(form(by, rounds_first), x, weight) for by in ("triton", "torch"))
    all_close(ours, wanted)
    assert ours[0].stride() == wanted[0].stride() or x.stride(-1) != 1


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wanting", [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_the_addition_is_in_the_node(layout, wanting, monkeypatch, guarded):
    monkeypatch.setattr(kernel, "AT_ONCE", 128)
    x, weight = given(layout)
    y = torch.randn(x.shape, device=DEVICE)  # lies otherwise than x, here and there
    tensors = [t.detach().requires_grad_(bool(wants)) for t, wants in zip((x, y, weight), wanting, strict=True)]
    all_close(*(trained(sums(by), *tensors) for by in ("triton", "torch")))


def test_one_of_both_outputs_is_enough_and_an_input_may_be_used_twice():
    x, weight = given()
    for number, w in ((0, weight.detach()), (1, weight)):
        forms = [lambda x, w, by=by, number=number: sums(by)(x, x, w)[number] for by in ("triton", "torch")]
        all_close(*(trained(form, x, w) for form in forms))


@pytest.mark.parametrize("kind", KINDS)
def test_every_norm_of_the_catalog_has_it(kind):
    found = []
    for by in ("triton", "torch"):
        norm = kind(37, 1e-5).to(DEVICE)
        norm.weight.data.copy_(given()[1])
        norm.by = by
        found.append(trained(norm, given()[0]))
    all_close(*found)


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_projections_behind_it_keep_nothing(adds, checkpointed):
    """They ask the node for its norm, and get the sum as it is."""

    def run(x, weight, by):
        total, y = sums(by)(x, x.sin(), weight) if adds else (x, form(by)(x, weight))
        return products(y, linear)[0] + products(total, linear)[0]

    torch.manual_seed(2)
    linear, found = torch.nn.Linear(37, 4).to(DEVICE), []
    for by in ("triton", "torch"):
        x, weight = (t.detach().requires_grad_() for t in given())
        linear.zero_grad()
        y = checkpoint(run, x, weight, by, use_reentrant=False) if checkpointed else run(x, weight, by)
        y.square().sum().backward(retain_graph=True)
        y.square().sum().backward()
        found.append([y.detach(), x.grad, weight.grad, linear.weight.grad])
    all_close(*found)


def test_what_the_kernel_lacks_is_refused():
    x, weight = (t.detach() for t in given())
    for refused, reason in {
        (x, torch.ones(5, 37, device=DEVICE)): r"the weight has shape \(5, 37\)",
        (x.double(), weight.double()): "a tensor is float64",
        (x.bfloat16(), weight): "the weight is torch.float32 and the input torch.bfloat16",
        (torch.empty(1, 2**15 + 1, device=DEVICE), torch.empty(2**15 + 1, device=DEVICE)): "rows have 32769 entries",
    }.items():
        with pytest.raises(ValueError, match=f"backend.rms_norm: 'triton': {reason}.*; use 'torch' or 'auto'"):
            form("triton")(*refused)


def test_a_compiler_gets_the_formula():
    x, weight = (t.detach() for t in given())
    compiled = torch.compile(form("triton"), backend="eager", fullgraph=True)
    assert torch.equal(compiled(x, weight), form("torch")(x, weight))


@ON_A_CARD
@pytest.mark.parametrize("width", [64, 1000, 8192])
def test_bfloat16_is_nearer_to_the_truth(width):
    torch.manual_seed(0)
    x, y, weight = (torch.randn(*shape, width, device=DEVICE) for shape in ((300,), (300,), ()))
    for rounds_first in (True, False):
        nearer(form("triton", rounds_first), form("torch", rounds_first), x.requires_grad_(), weight.requires_grad_())
        nearer(sums("triton", rounds_first), sums("torch", rounds_first), x, y, weight)
