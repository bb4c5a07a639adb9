"""Gated activations: the kernel is the formula, however gate and up lie."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.kernels.device import DEVICE, ON_A_CARD, all_close, nearer, trained  # isort: skip
from nemo_automodel.components.models.common import glu as forms
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.glu import Lies, glu
from nemo_automodel.components.models.common.kernels import glu as kernel
from nemo_automodel.components.models.common.recomputed import projected

WIDTH = 37
ACTIVATIONS = ("silu", "swish", "quick_gelu", "gelu", "gelu_pytorch_tanh", "gelu_new", "relu", "relu2")
CLAMPS = {
    "plain": {},
    "limit": {"limit": 0.7},
    "gpt-oss": {"limit": 0.7, "alpha": 1.702, "up_offset": 1},
}
LIES = {"halves": Lies(WIDTH), "interleaved": Lies(1), "up first": Lies(WIDTH, False), "turns": Lies(1, False)}


def rows(*shape, width=2 * WIDTH):
    torch.manual_seed(0)
    return torch.randn(*shape, width, device=DEVICE).requires_grad_()


def of_rows(by, activation, lies, **clamps):
    return lambda h: glu(by, h, None, ACT[activation], lies=lies, **clamps)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("clamps", CLAMPS)
def test_values_and_gradients_are_the_formulas(activation, clamps, monkeypatch, guarded):
    monkeypatch.setattr(kernel, "BLOCK", 16)  # three programs a row, the last of which is not full
    given = rows(3, 2)
    ours, wanted = (trained(of_rows(by, activation, Lies(1), **CLAMPS[clamps]), given) for by in ("triton", "torch"))
    all_close(ours, wanted)


@pytest.mark.parametrize("lies", LIES)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,), (2, 0, 3)], ids=str)
def test_it_does_not_matter_how_rows_lie(lies, shape, guarded):
    ours, wanted = (trained(of_rows(by, "silu", LIES[lies]), rows(*shape)) for by in ("triton", "torch"))
    all_close(ours, wanted)


def test_blocks_of_several_columns(guarded):
    for block in (3, 6):
        given = rows(4, width=36)
        ours, wanted = (trained(of_rows(by, "gelu", Lies(block, False)), given) for by in ("triton", "torch"))
        all_close(ours, wanted)


@pytest.mark.parametrize("wanting", [(True, True), (True, False), (False, True)])
def test_gate_and_up_apart_with_strides_of_their_own(wanting):
    wide, turned = rows(3, 4, width=3 * WIDTH), rows(3, WIDTH, width=4)
    gate, up = wide.detach()[..., ::3], turned.detach().mT
    gate, up = (t.requires_grad_(wants) for t, wants in zip((gate, up), wanting, strict=True))
    ours, wanted = (trained(lambda g, u, by=by: glu(by, g, u, ACT["silu"]), gate, up) for by in ("triton", "torch"))
    all_close(ours, wanted)


def test_an_input_that_is_used_twice():
    ours, wanted = (trained(lambda x, by=by: glu(by, x, x, ACT["silu"]), rows(3)) for by in ("triton", "torch"))
    all_close(ours, wanted)


def test_not_a_number_stays_one():
    h = torch.full((1, 2), float("nan"), device=DEVICE)
    assert glu("triton", h, None, ACT["silu"], lies=Lies(1), limit=0.5).isnan().all()


class MLP(nn.Module):
    def __init__(self, by):
        super().__init__()
        torch.manual_seed(1)
        self.up, self.down, self.by = nn.Linear(8, 2 * WIDTH), nn.Linear(WIDTH, 8), by

    def forward(self, x):
        return projected(self.down, ACT["silu"], self.up(x), lies=Lies(1), by=self.by)


@pytest.mark.parametrize("through", ["plainly", "a checkpoint", "twice"])
def test_before_a_projection_the_product_is_made_again(through):
    """What the projection needs for its weight's gradient is not kept."""

    def run(mlp, x):
        if through == "a checkpoint":
            return checkpoint(mlp, x, use_reentrant=False)
        return mlp(mlp(x)) if through == "twice" else mlp(x)

    found = []
    for by in ("triton", "torch"):
        mlp, x = MLP(by).to(DEVICE), torch.randn(5, 8, device=DEVICE, generator=torch.Generator(DEVICE).manual_seed(2))
        y = run(mlp, x.requires_grad_())
        y.square().sum().backward(retain_graph=True)
        y.square().sum().backward()  # what was opened and made is let go after each
        found.append([y.detach(), x.grad, *(one.grad for one in mlp.parameters())])
    all_close(*found)


def test_only_what_rows_hold_is_kept():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        y = MLP("triton").to(DEVICE)(torch.randn(50, 8, device=DEVICE))
    assert y.requires_grad
    assert sorted(size for size in kept if size > 2 * WIDTH * 8) == [50 * 2 * WIDTH]


def test_what_the_kernel_lacks_is_refused():
    given = rows(3).detach()
    with pytest.raises(
        ValueError, match="backend.glu: 'triton': there is no kernel of MishActivation; use 'torch' or 'auto'"
    ):
        of_rows("triton", "mish", Lies(1))(given)
    with pytest.raises(ValueError, match="a tensor is float64, and the kernels take float32"):
        of_rows("triton", "silu", Lies(1))(given.double())


def test_a_compiler_gets_the_formula():
    given = rows(3).detach()
    compiled = torch.compile(of_rows("triton", "silu", Lies(1)), backend="eager", fullgraph=True)
    assert torch.equal(compiled(given), forms.FORMS["torch"](given, None, ACT["silu"], forms.clamped_glu, Lies(1)))


@ON_A_CARD
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bfloat16_is_nearer_to_the_truth(activation):
    torch.manual_seed(0)
    given = torch.randn(300, 2 * WIDTH, device=DEVICE, requires_grad=True)
    nearer(of_rows("triton", activation, Lies(1)), of_rows("torch", activation, Lies(1)), given)
