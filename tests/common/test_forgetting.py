"""What reads a norm's output keeps the norm's node in its place: fewer bytes, and no bit of a gradient is another."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from nemo_automodel.components.models.common import forgetting, row_blocks
from nemo_automodel.components.models.common.combined_projection import CombinedGateUpMLP
from nemo_automodel.components.models.common.norm import Float32RMSNorm, OffsetFloat32RMSNorm, OffsetRMSNorm, RMSNorm
from nemo_automodel.components.moe import blockwise
from nemo_automodel.components.moe.config import MoEConfig
from nemo_automodel.components.moe.layers import MoE

WIDTH, INNER, ROWS = 32, 48, 360
SHAPE = SimpleNamespace(hidden_size=WIDTH, intermediate_size=INNER, hidden_act="silu", mlp_bias=True)


class Block(nn.Module):
    """x + layer(norm(x)), and once more where the layers stand side by side."""

    def __init__(self, *layers, norm=RMSNorm):
        super().__init__()
        self.norm, self.layers = norm(WIDTH, 1e-5), nn.ModuleList(layers)
        nn.init.normal_(self.norm.weight)

    def forward(self, x):
        y = self.norm(x)
        return x + sum(layer(y) for layer in self.layers)


def mlp(projections="split", **options):
    return CombinedGateUpMLP(SHAPE, {"projections": projections}, **options)


def mixture(experts):
    made = MoE(MoEConfig(WIDTH, 16, 8, 3, n_shared_experts=1), SimpleNamespace(experts=experts, linear="torch"))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made


BLOCKS = {
    "split": lambda: Block(mlp()),
    "packed": lambda: Block(mlp("packed")),
    "fused": lambda: Block(mlp(fused="gate_up_proj")),
    "side by side": lambda: Block(mlp(), mlp("packed"), norm=OffsetRMSNorm),
    "one rounding": lambda: Block(mlp(), norm=Float32RMSNorm),
    "weight and one": lambda: Block(mlp(), norm=OffsetFloat32RMSNorm),
    "blockwise": lambda: Block(mixture("blockwise")),
    "loop": lambda: Block(mixture("loop")),
}


@pytest.fixture(autouse=True)
def norms_are_nodes(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 700)


def keeping_all(monkeypatch):
    for module in (forgetting, blockwise):
        monkeypatch.setattr(module, "maker", lambda x: None)


def trained(block, x, through=lambda block, x: block(x)):
    """The output and all gradients."""
    block.zero_grad()
    x = x.detach().requires_grad_()
    y = through(block, x)
    y.square().sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in block.parameters() if p.grad is not None)]


def equal(ours, wanted):
    return len(ours) == len(wanted) and all(map(torch.equal, ours, wanted))


def numbers_kept(block, x):
    """How many numbers of tensors with as many as x the backward pass keeps."""
    storages = {}

    def keep(saved):
        if saved.numel() == x.numel():
            storages[saved.data_ptr()] = saved  # held, that no other takes its place
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        y = block(x.detach().requires_grad_())
    del y
    return sum(saved.numel() for saved in storages.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", BLOCKS)
def test_gradients_are_the_same_bit_for_bit(kind, dtype, monkeypatch):
    block, x = BLOCKS[kind]().to(dtype), torch.randn(3, ROWS // 3, WIDTH, dtype=dtype)
    ours, kept = trained(block, x), numbers_kept(block, x)
    keeping_all(monkeypatch)
    assert equal(ours, trained(block, x))
    assert kept == numbers_kept(block, x) - x.numel()


@pytest.mark.parametrize("kind", ["side by side", "blockwise"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_replay_it(kind, reentrant):
    block, x = BLOCKS[kind](), torch.randn(3, ROWS // 3, WIDTH)
    wanted = trained(block, x)
    assert equal(trained(block, x, lambda block, x: checkpoint(block, x, use_reentrant=reentrant)), wanted)


@pytest.mark.parametrize("frozen", ["norm", "layers.0.gate_proj", "layers.0.down_proj"])
def test_what_is_frozen_gets_no_gradient_and_all_else_the_same(frozen, monkeypatch):
    block, x = BLOCKS["split"](), torch.randn(ROWS, WIDTH)
    block.get_submodule(frozen).requires_grad_(False)
    ours = trained(block, x)
    keeping_all(monkeypatch)
    assert equal(ours, trained(block, x))


def test_one_gradient_alone_and_a_graph_that_is_kept():
    """Where the norm's own backward pass does not run, its output is made for the one that asks."""
    block, x = BLOCKS["split"](), torch.randn(ROWS, WIDTH)
    wanted = dict(zip([name for name, _ in block.named_parameters()], trained(block, x)[2:], strict=True))
    loss = block(x).square().sum()
    weight = block.layers[0].up_proj.weight
    for _ in range(2):
        (alone,) = torch.autograd.grad(loss, [weight], retain_graph=True)
        assert torch.equal(alone, wanted["layers.0.up_proj.weight"])


def test_adapters_keep_what_they_keep(monkeypatch):
    block, x = BLOCKS["split"](), torch.randn(ROWS, WIDTH)
    settings = LoraConfig(r=3, target_modules=["gate_proj", "up_proj"], init_lora_weights=False)
    block = inject_adapter_in_model(settings, block)
    ours = trained(block, x)
    keeping_all(monkeypatch)
    assert equal(ours, trained(block, x))


def test_what_was_made_again_goes_with_the_backward_pass():
    block, x = BLOCKS["split"](), torch.randn(ROWS, WIDTH, requires_grad=True)
    y = block.norm(x)
    loss = block.layers[0](y).sum()
    node = y.grad_fn
    del y
    loss.backward(retain_graph=True)
    assert node.made is None


def test_a_norm_that_is_written_over_is_told():
    """As everywhere in autograd."""
    block = BLOCKS["split"]()
    x = torch.randn(ROWS, WIDTH, requires_grad=True) * 1
    loss = block(x).sum()
    x.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
