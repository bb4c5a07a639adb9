"""Values of a backend that need a package and a card: what is missing is said, and what is there is called as it wants.

Packages are stood in for by what they document that they compute.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
import torch

from library.needs import EXTRAS
from nemo_automodel.components.models.common import backend, causal_conv, delta_rule, glu, kernels, rms_norm
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.backend import NEEDS, BackendConfig
from tests.common.tiny import TinyConfig, TinyForCausalLM

FIELDS = {"triton": "rms_norm", "liger": "glu", "causal_conv1d": "conv", "fla": "delta_rule"}


@pytest.fixture
def installed(monkeypatch):
    """Stands in for a package: its module, or one within it, with these names."""

    def install(path, **names):
        parts = path.split(".")
        for depth in range(1, len(parts) + 1):
            module = ModuleType(".".join(parts[:depth]))
            module.__spec__, module.__path__ = ModuleSpec(module.__name__, None), []
            monkeypatch.setitem(sys.modules, module.__name__, sys.modules.get(module.__name__, module))
        vars(sys.modules[path]).update(names)

    return install


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(backend, "has_card", lambda: True)


@pytest.mark.parametrize("value", NEEDS)
def test_what_is_not_installed_says_which_extra_brings_it(value, monkeypatch):
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    with pytest.raises(ImportError) as error:
        TinyForCausalLM(TinyConfig(), {FIELDS[value]: value})
    _, package, extra = NEEDS[value]
    assert f"backend.{FIELDS[value]}: {value!r} needs the package {package} (extra {extra!r})" in str(error.value)
    assert str(error.value).endswith(f"pip install {package}, or use 'torch'")


def test_extras_are_what_is_imported():
    brought = {extra: [one.split(">=")[0] for one in packages] for extra, packages in EXTRAS.items()}
    assert {extra: brought[extra] for _, _, extra in NEEDS.values()} == {e: [p] for _, p, e in NEEDS.values()}
    assert brought["flash"] == ["flash-attn"]  # transformers imports it
    assert "kernels" not in brought


@pytest.mark.parametrize("value", NEEDS)
def test_without_a_card_it_says_so_and_auto_is_torch(value, installed, monkeypatch):
    installed(NEEDS[value][0])
    monkeypatch.setattr(backend, "has_card", lambda: False)
    with pytest.raises(RuntimeError, match=f"backend.{FIELDS[value]}: '{value}' needs a card, and torch sees none"):
        TinyForCausalLM(TinyConfig(), {FIELDS[value]: value})
    assert getattr(BackendConfig().resolved(), FIELDS[value]) == "torch"


def test_with_a_card_auto_follows_the_tensors(installed, card, monkeypatch):
    for module, *_ in NEEDS.values():
        installed(module)
    monkeypatch.setattr(kernels, "installed", lambda: True)
    resolved = BackendConfig().resolved()
    fields = ("rms_norm", "glu", "rope", "conv", "delta_rule", "scan", "linear")
    assert [getattr(resolved, field) for field in fields] == ["torch"] * 3 + ["auto"] * 2 + ["torch"] * 2
    ids = torch.arange(3, 20)[None]
    models = [TinyForCausalLM(TinyConfig(), choice).eval() for choice in (None, dict.fromkeys(fields[:5], "torch"))]
    models[1].load_state_dict(models[0].state_dict())
    assert torch.equal(models[0](ids).logits, models[1](ids).logits)  # these are on a CPU


def test_a_kernel_that_is_named_refuses_a_cpu(installed, card, monkeypatch):
    installed("triton")
    monkeypatch.setattr(kernels, "installed", lambda: True)
    monkeypatch.setattr(kernels, "interpreted", lambda: False)
    model = TinyForCausalLM(TinyConfig(), {"rms_norm": "triton"})
    with pytest.raises(ValueError, match="'triton': a tensor is on cpu, and the kernels run on a card; use 'torch'"):
        model(torch.arange(3)[None])


def test_causal_conv1d(installed, monkeypatch):
    def causal_conv1d_fn(x, weight, bias, seq_idx=None):
        assert x.stride(1) == 1  # [B, H, S], channels last: documents need it
        assert seq_idx is None or seq_idx.dtype == torch.int32
        return causal_conv.convolve_stepwise(x.mT, weight, bias, documents=seq_idx).mT

    installed("causal_conv1d", causal_conv1d_fn=causal_conv1d_fn)
    x, weight, bias, before = (torch.randn(shape) for shape in ((2, 9, 8), (8, 4), (8,), (2, 3, 8)))
    with pytest.raises(ValueError, match="backend.conv: 'causal_conv1d': its kernel runs on a card, and x is on cpu"):
        causal_conv.convolve_causal_conv1d(x, weight, bias)
    documents = torch.arange(9)[None] // 4
    for given in ({}, {"before": before}, {"documents": documents}):
        wanted = causal_conv.convolve_stepwise(x, weight, bias, **given)
        torch.testing.assert_close(causal_conv.convolve_by_device(x, weight, bias, **given), wanted)
        with monkeypatch.context() as patch:
            patch.setattr(causal_conv, "why_not_causal_conv1d", lambda *given: None)
            torch.testing.assert_close(causal_conv.convolve_by_device(x, weight, bias, **given), wanted)
    on_card = SimpleNamespace(is_cuda=True, shape=(1, 9, 12))
    assert "2 to 4 taps, not 5" in causal_conv.why_not_causal_conv1d(on_card, torch.empty(12, 5))
    assert "in eights, not 12" in causal_conv.why_not_causal_conv1d(on_card, torch.empty(12, 4), documents)


@pytest.mark.parametrize("by", ["head", "channel"])
def test_fla(by, installed, monkeypatch):
    def rule(q, k, v, g, beta, initial_state, output_final_state, use_qk_l2norm_in_kernel, cu_seqlens=None):
        assert output_final_state and use_qk_l2norm_in_kernel and q.shape[2] == v.shape[2]
        ends = [v.shape[1]] if cu_seqlens is None else cu_seqlens[1:].tolist()
        found = []
        for start, end in zip([0, *ends], ends, strict=False):
            pieces = [one[:, start:end] for one in (q, k, v, g, beta)]
            found.append(delta_rule.delta_rule_stepwise(*pieces, state=initial_state if start == 0 else None))
        return torch.cat([y for y, _ in found], 1), torch.cat([state for _, state in found])

    installed("fla.ops.gated_delta_rule", chunk_gated_delta_rule=rule)
    installed("fla.ops.kda", chunk_kda=rule)
    monkeypatch.setattr(delta_rule, "why_not_fla", lambda *given: None)
    q, k, v = (torch.randn(1, 9, heads, width) for heads, width in ((2, 6), (2, 6), (4, 5)))
    decay, beta = -torch.rand(1, 9, 4, *[6] * (by == "channel")), torch.rand(1, 9, 4)
    for documents in (None, torch.arange(9)[None] // 4):
        wanted = delta_rule.delta_rule_stepwise(q, k, v, decay, beta, documents=documents)
        found = delta_rule.delta_rule_by_device(q, k, v, decay, beta, documents=documents)
        torch.testing.assert_close(found, wanted)


def test_fla_is_refused_with_the_reason():
    class OnACard(torch.Tensor):
        is_cuda = True

    def made(width, dtype=torch.bfloat16):
        return torch.zeros(2, 9, 2, width, dtype=dtype).as_subclass(OnACard)

    assert "256 entries, not 512" in delta_rule.why_not_fla(made(512), made(64))
    assert "one packed row at a time" in delta_rule.why_not_fla(made(64), made(64), torch.zeros(1, 9))
    assert "not torch.float32" in delta_rule.why_not_fla(made(64), made(64, torch.float32))
    assert delta_rule.why_not_fla(made(64), made(64)) is None
    assert "on a card, and v is on cpu" in delta_rule.why_not_fla(*torch.zeros(2, 1, 1, 1, 1))


def test_liger(installed, monkeypatch):
    """Its RMSNorm takes (x, weight, eps, offset, order, in place), its gated activations gate and up apart."""
    monkeypatch.setattr(kernels, "why_not", lambda *tensors: None)

    def norm(x, weight, eps, offset, order, in_place):
        assert (offset, in_place) == (0.0, False)
        return rms_norm.rms_norm(x, weight, eps, rounds_first={"llama": True, "gemma": False}[order])

    silu, gelu = (lambda g, u, name=name: ACT[name](g) * u for name in ("silu", "gelu_pytorch_tanh"))
    installed("liger_kernel.ops.rms_norm", LigerRMSNormFunction=SimpleNamespace(apply=norm))
    installed("liger_kernel.ops.swiglu", LigerSiLUMulFunction=SimpleNamespace(apply=silu))
    installed("liger_kernel.ops.geglu", LigerGELUMulFunction=SimpleNamespace(apply=gelu))
    x, weight = torch.randn(5, 12).bfloat16(), torch.randn(12).bfloat16()
    for rounds_first in (True, False):
        found = rms_norm.FORMS["liger"](x, weight, 1e-5, rounds_first=rounds_first)
        assert torch.equal(found, rms_norm.rms_norm(x, weight, 1e-5, rounds_first=rounds_first))
    for name in ("silu", "swish", "gelu_new", "gelu_pytorch_tanh"):
        gate, up = glu.Lies(1).parts(x)
        found = glu.glu("liger", x, None, ACT[name], lies=glu.Lies(1))
        plain = {"swish": "silu", "gelu_new": "gelu_pytorch_tanh"}.get(name, name)
        assert torch.equal(found, ACT[plain](gate) * up)
    with pytest.raises(ValueError, match="backend.glu: 'liger': liger-kernel has no clamped forms; use 'torch'"):
        glu.glu("liger", x, None, ACT["silu"], lies=glu.Lies(1), limit=7.0)
    with pytest.raises(ValueError, match="liger-kernel has no GELUActivation"):
        glu.glu("liger", x, None, ACT["gelu"], lies=glu.Lies(1))
