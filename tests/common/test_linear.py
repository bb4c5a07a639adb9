"""Linear layers that round their products apart, alone and packed."""

import pytest
import torch
from torch import nn

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.combined_projection.combined_mlp import CombinedGateUpMLP
from nemo_automodel.components.models.common.linear import LateBiasLinear
from tests.common.tiny import TinyConfig


def rounded_apart(linear, x):
    """The product in fp32, rounded, then the bias in fp32, rounded."""
    product = (x.float() @ linear.weight.float().T).to(x.dtype)
    return (product.float() + linear.bias.float()).to(x.dtype)


def randomised(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def test_the_product_is_rounded_before_the_bias_is_added():
    linear = randomised(LateBiasLinear(16, 64)).bfloat16()
    x = torch.randn(32, 16).bfloat16()
    assert torch.equal(linear(x), rounded_apart(linear, x))
    assert not torch.equal(linear(x), nn.Linear.forward(linear, x))
    torch.testing.assert_close(linear.double()(x.double()), nn.Linear.forward(linear, x.double()))


def test_without_a_bias_it_is_any_linear_layer():
    linear = randomised(LateBiasLinear(16, 64, bias=False)).bfloat16()
    x = torch.randn(32, 16).bfloat16()
    assert torch.equal(linear(x), nn.Linear.forward(linear, x))


@pytest.mark.parametrize("fused", [None, "gate_up"])
def test_packed_ones_round_apart_and_come_apart_as_what_they_are(fused):
    config = TinyConfig(fused=False)
    options = {"bias": True, "fused": fused, "linear": LateBiasLinear}
    mlp = randomised(CombinedGateUpMLP(config, BackendConfig(projections="packed"), **options)).bfloat16()
    packed, x = mlp.get_submodule(mlp._packing[0]), torch.randn(8, config.hidden_size).bfloat16()
    assert torch.equal(packed(x), rounded_apart(packed, x))
    before = mlp(x)
    mlp.unpack()
    parts = [module for module in mlp.modules() if isinstance(module, nn.Linear)]
    assert {type(part) for part in parts} == {LateBiasLinear} and len(parts) == (2 if fused else 3)
    assert torch.equal(mlp(x), before)
