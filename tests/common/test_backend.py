"""Choices that exist, choices that can run, and the modules that follow from them."""

import pytest
import torch
from torch import nn

from nemo_automodel.components.models.common import (
    BackendConfig,
    CombinedGateUpMLP,
    initialize_linear_module,
    utils,
)
from tests.common.tiny import TinyConfig, TinyForCausalLM


def test_unknown_values_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"backend.projections: 'paked' is not one of auto, packed, split"):
        BackendConfig(projections="paked")
    with pytest.raises(ValueError, match="backend.gate_precision"):
        BackendConfig(gate_precision="float8")


def test_comes_from_nothing_a_mapping_or_itself():
    assert BackendConfig.of(None) == BackendConfig()
    assert BackendConfig.of({"projections": "packed"}).packed
    own = BackendConfig(linear="torch")
    assert BackendConfig.of(own) is own


def test_auto_never_packs(monkeypatch):
    """A packed model has other names in memory than transformers' own, by which published adapters are loaded."""
    for available in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert not BackendConfig().packed


def test_auto_is_decided_once(monkeypatch):
    model = TinyForCausalLM(TinyConfig())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert model.backend.projections == "split"
    assert model.state_dict_adapter.active == ()


@pytest.mark.parametrize("choice", [{"linear": "te"}, {"rms_norm": "te"}, {"dispatcher": "deepep"}, {"experts": "te"}])
def test_what_cannot_run_here_says_why(choice):
    with pytest.raises(NotImplementedError, match="do not use .* yet; use 'torch'"):
        TinyForCausalLM(TinyConfig(), choice)


def test_attention_of_the_backend_is_the_models():
    model = TinyForCausalLM(TinyConfig(), {"attn": "eager"})
    assert model.config._attn_implementation == "eager"


def test_fused_rms_norm_is_used_where_named():
    torch.manual_seed(0)
    fused = TinyForCausalLM(TinyConfig(), {"rms_norm": "torch_fused"})
    plain = TinyForCausalLM(TinyConfig())
    plain.load_state_dict(fused.state_dict())
    ids = torch.arange(3, 20)[None]
    assert torch.allclose(fused(ids).logits, plain(ids).logits, atol=1e-5)
    assert (fused.model.norm.by, plain.model.norm.by) == ("torch_fused", "torch")


def test_initialize_linear_module():
    layer = initialize_linear_module("torch", 4, 3, dtype=torch.bfloat16)
    assert (type(layer), layer.bias, layer.weight.dtype) == (nn.Linear, None, torch.bfloat16)
    assert initialize_linear_module("auto", 4, 3, bias=True, device="meta").bias.is_meta
    with pytest.raises(ValueError, match="'tee' is not one of"):
        initialize_linear_module("tee", 4, 3)
    with pytest.raises(ImportError, match="transformer-engine"):
        initialize_linear_module("te", 4, 3)
    assert utils.initialize_linear_module is initialize_linear_module


def test_gated_mlp_of_a_config_alone():
    config = TinyConfig()
    packed, split = (CombinedGateUpMLP(config, BackendConfig(projections=p)) for p in ("packed", "split"))
    assert type(CombinedGateUpMLP(config)) is CombinedGateUpMLP
    gate, up = torch.randn(40, 32), torch.randn(40, 32)
    packed.gate_up_proj.weight.data = torch.stack((gate, up), 1).flatten(0, 1)
    split.gate_proj.weight.data, split.up_proj.weight.data = gate, up
    split.down_proj.load_state_dict(packed.down_proj.state_dict())
    x = torch.randn(2, 3, 32)
    assert torch.allclose(packed(x), split(x), atol=1e-5)
    for a, b in zip(packed.compute_gate_up(x), split.compute_gate_up(x), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_gate_and_up_of_unlike_biases_are_not_packed():
    mlp = CombinedGateUpMLP(TinyConfig(), BackendConfig(projections="packed"), biases=(True, False, False))
    assert not mlp.packed
    assert mlp.gate_proj.bias is not None
    assert mlp.up_proj.bias is mlp.down_proj.bias is None
