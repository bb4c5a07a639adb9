"""Norms against transformers' own classes: outputs bit for bit, gradients within 1e-6 of their largest value."""

import pytest
import torch
from torch import nn
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.llama4.modeling_llama4 import Llama4TextL2Norm
from transformers.models.nemotron.modeling_nemotron import NemotronLayerNorm1P
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm
from transformers.models.stablelm.modeling_stablelm import StableLmLayerNormPerHead

from nemo_automodel.components.models.common import initialize_rms_norm_module, norm

EPS = 1e-5
PAIRS = {
    "RMSNorm": (lambda: norm.RMSNorm(24, EPS), lambda: LlamaRMSNorm(24, EPS)),
    "Float32RMSNorm": (lambda: norm.Float32RMSNorm(24, EPS), lambda: Olmo2RMSNorm(24, EPS)),
    "OffsetFloat32RMSNorm": (lambda: norm.OffsetFloat32RMSNorm(24, EPS), lambda: GemmaRMSNorm(24, EPS)),
    "UnitRMSNorm": (lambda: norm.UnitRMSNorm(24, EPS), lambda: Llama4TextL2Norm(EPS)),
    "Float32LayerNorm": (lambda: norm.Float32LayerNorm(24, EPS), lambda: CohereLayerNorm(24, EPS)),
    "UnitLayerNorm": (lambda: norm.UnitLayerNorm(24, EPS), lambda: OlmoLayerNorm(24)),
    "OffsetLayerNorm": (lambda: norm.OffsetLayerNorm(24, EPS, bias=True), lambda: NemotronLayerNorm1P(24, EPS)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_transformers(name, dtype):
    ours, theirs = (make().to(dtype) for make in PAIRS[name])
    torch.manual_seed(0)
    x, weights = torch.randn(2, 5, 24).to(dtype), [torch.randn(24).to(dtype) for _ in theirs.parameters()]
    results = []
    for module in (ours, theirs):
        for parameter, value in zip(module.parameters(), weights, strict=True):
            parameter.data.copy_(value)
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        y.backward(torch.linspace(-1, 1, y.numel()).view_as(y).to(dtype))
        results.append((y, leaf.grad, *(p.grad for p in module.parameters())))
    assert torch.equal(results[0][0], results[1][0])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype == dtype
        assert (a - b).abs().max() <= (1e-6 if dtype == torch.float32 else 1e-2) * b.abs().max()


def test_casts_and_offsets_differ_where_they_should():
    x, weight = torch.randn(4, 24).bfloat16(), torch.rand(24).bfloat16()
    early, late = norm.RMSNorm(24, EPS).bfloat16(), norm.Float32RMSNorm(24, EPS).bfloat16()
    offset = norm.OffsetRMSNorm(24, EPS).bfloat16()
    for module, value in ((early, weight), (late, weight), (offset, weight - 1)):
        module.weight.data.copy_(value)
    assert not torch.equal(early(x), late(x))
    assert (offset(x) - early(x)).abs().max() < 0.1


@pytest.mark.parametrize("make", [norm.RMSNorm, norm.Float32LayerNorm, norm.OffsetFloat32RMSNorm])
def test_a_weight_a_head_normalises_the_last_dimension_alone(make):
    x, heads = torch.randn(2, 5, 3, 8), make((3, 8), EPS)
    heads.weight.data.normal_()
    for head in range(3):
        single = make(8, EPS)
        single.weight.data.copy_(heads.weight[head])
        assert torch.equal(heads(x)[:, :, head], single(x[:, :, head]))


def test_one_norm_module_a_head():
    theirs = StableLmLayerNormPerHead(8, 3, eps=EPS)
    ours = norm.PerHeadNorms(lambda: nn.LayerNorm(8, EPS, bias=False), 3)
    for parameter in theirs.parameters():
        parameter.data.normal_()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 5, 8)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("make, start", [(norm.RMSNorm, 1.0), (norm.OffsetRMSNorm, 0.0), (norm.OffsetLayerNorm, 1.0)])
def test_start_value_at_construction_and_on_initialize(make, start):
    module = make(4, EPS)
    assert (module.weight == start).all()
    module.weight.data.fill_(7.0)
    module.initialize(0.02)
    assert (module.weight == start).all()


def test_initialize_rms_norm_module():
    assert type(initialize_rms_norm_module("torch", 8)) is norm.RMSNorm
    assert type(initialize_rms_norm_module("torch_fp32", 8, eps=1e-6)) is norm.Float32RMSNorm
    assert initialize_rms_norm_module("torch", 8, dtype=torch.bfloat16).weight.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="not one of torch"):
        initialize_rms_norm_module("fast", 8)
    with pytest.raises(ImportError, match="transformer-engine"):
        initialize_rms_norm_module("te", 8)
