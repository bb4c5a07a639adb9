"""The product of a gated MLP: fewer bytes are kept, and no bit is another."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from nemo_automodel.components.models.common import row_blocks, simd
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.recomputed import projected

WIDTH, INNER, ROWS = 32, 48, 360


class Doubled(nn.Linear):
    """A projection that is more than a linear map."""

    def forward(self, x):
        return 2 * super().forward(x)


class MLP(nn.Module):
    def __init__(self, activation="silu", layout="apart", down=nn.Linear):
        super().__init__()
        self.layout = layout
        self.gate_up = nn.Linear(WIDTH, 2 * INNER)
        self.down = down(INNER, WIDTH)
        self.activation = ACT[activation]

    def forward(self, x):
        gate, up = self.gate_up(x).unflatten(-1, (-1, 2)).unbind(-1)
        if self.layout == "apart":
            gate, up = gate.contiguous(), up.contiguous()
        return projected(self.down, self.activation, gate, up)


@pytest.fixture(autouse=True)
def by_rows(monkeypatch):
    """Not by the extension: see test_silu_product.py."""
    monkeypatch.setattr(simd, "reads", lambda *_: False)


def as_node(monkeypatch, is_node):
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 700 if is_node else 2**30)


def trained(mlp, x, through=lambda mlp, x: mlp(x)):
    """The output and all gradients."""
    mlp.zero_grad()
    x = x.detach().requires_grad_()
    y = through(mlp, x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(parameter.grad for parameter in mlp.parameters() if parameter.requires_grad)]


def kept(mlp, x):
    """Bytes that the backward pass keeps, parameters aside."""
    storages, own = {}, {parameter.untyped_storage().data_ptr() for parameter in mlp.parameters()}

    def keep(saved):
        storage = saved.untyped_storage()
        storages[storage.data_ptr()] = storage  # held, that no other takes its place
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        y = mlp(x.detach().requires_grad_())
    del y
    return sum(storage.nbytes() for address, storage in storages.items() if address not in own)


def equal(ours, wanted):
    return all(torch.equal(one, other) for one, other in zip(ours, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["apart", "interleaved"])
@pytest.mark.parametrize("activation", ["silu", "gelu_pytorch_tanh", "relu2", "xielu"])  # the last has parameters
def test_values_and_gradients_are_the_formulas_bit_for_bit(activation, layout, dtype, monkeypatch):
    mlp, x = MLP(activation, layout).to(dtype), torch.randn(3, ROWS // 3, WIDTH, dtype=dtype)
    as_node(monkeypatch, False)
    wanted, before = trained(mlp, x), kept(mlp, x)
    as_node(monkeypatch, True)
    assert equal(trained(mlp, x), wanted)
    inner = ROWS * INNER * x.element_size()
    assert kept(mlp, x) <= before - 2 * inner + 64  # activation(gate) and the product; xielu keeps its numbers


def test_what_is_frozen_gets_no_gradient_and_all_else_the_same(monkeypatch):
    for frozen in ("gate_up", "down"):
        mlp, x = MLP(), torch.randn(ROWS, WIDTH)
        mlp.get_submodule(frozen).requires_grad_(False)
        as_node(monkeypatch, False)
        wanted = trained(mlp, x)
        as_node(monkeypatch, True)
        assert equal(trained(mlp, x), wanted) and mlp.get_submodule(frozen).weight.grad is None


def test_checkpoints_replay_it(monkeypatch):
    mlp, x = MLP(), torch.randn(ROWS, WIDTH)
    as_node(monkeypatch, True)
    wanted = trained(mlp, x)
    for reentrant in (False, True):
        assert equal(trained(mlp, x, lambda mlp, x, r=reentrant: checkpoint(mlp, x, use_reentrant=r)), wanted)


def test_twice_backward_and_twice_used(monkeypatch):
    """A graph that is kept gives the same again; two uses of one MLP add up."""
    mlp, x = MLP(), torch.randn(ROWS, WIDTH)
    as_node(monkeypatch, True)
    once = [one.clone() for one in trained(mlp, x)[2:]]
    mlp.zero_grad()
    loss = mlp(x).square().sum()
    loss.backward(retain_graph=True)
    loss.backward()
    for parameter, grad in zip(mlp.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * grad)
    as_node(monkeypatch, False)
    wanted = trained(mlp, x, lambda mlp, x: mlp(mlp(x)))
    as_node(monkeypatch, True)
    assert equal(trained(mlp, x, lambda mlp, x: mlp(mlp(x))), wanted)


def test_a_projection_that_is_no_plain_linear_map_is_called_as_it_is(monkeypatch):
    mlp, x = MLP(down=Doubled), torch.randn(ROWS, WIDTH)
    as_node(monkeypatch, False)
    wanted = trained(mlp, x)
    as_node(monkeypatch, True)
    assert equal(trained(mlp, x), wanted)


def test_a_factor_that_was_written_over_is_told(monkeypatch):
    """As everywhere in autograd."""
    as_node(monkeypatch, True)
    gate, up = (torch.randn(ROWS, INNER, requires_grad=True) * 1 for _ in range(2))
    y = projected(nn.Linear(INNER, WIDTH), ACT["silu"], gate, up)
    gate.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
