"""The eager specification, and what the other implementations owe to it."""

import math
from types import SimpleNamespace

import pytest
import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor

from nemo_automodel.components.models.common.alibi import Alibi, alibi_slopes
from nemo_automodel.components.models.common.attention import (
    Attention,
    attend,
    attention_weights,
    eager_attention,
    gate_heads,
    products,
    split_gate,
    split_heads,
)
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.functional import clip, head_size, per_layer, softcap, yarn_mscale


def attention(implementation="eager", **attributes):
    module = Attention(SimpleNamespace(_attn_implementation=implementation), 0, BackendConfig())
    module.scale, module.num_key_value_groups = 0.3, 2
    for name, value in attributes.items():
        setattr(module, name, value)
    return module.eval()


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return torch.randn(2, 4, 6, 8), torch.randn(2, 2, 6, 8), torch.randn(2, 2, 6, 5)


def causal(length):
    return torch.full((1, 1, length, length), -math.inf).triu(1)


def naive(q, k, v, cap=None):
    """One query at a time."""
    out = torch.zeros(2, 6, 4, 5)
    for row in range(2):
        for head in range(4):
            for i in range(6):
                scores = 0.3 * (k[row, head // 2, : i + 1] @ q[row, head, i])
                scores = scores if cap is None else cap * torch.tanh(scores / cap)
                out[row, i, head] = scores.softmax(0) @ v[row, head // 2, : i + 1]
    return out.flatten(-2)


@pytest.mark.parametrize("cap", [None, 0.5])
def test_eager_equals_one_query_at_a_time(qkv, cap):
    y, weights = attend(attention(softcap=cap), *qkv, causal(6))
    assert torch.allclose(y, naive(*qkv, cap), atol=1e-6)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 4, 6))


def test_sdpa_equals_eager(qkv):
    q, k, v = qkv
    v = torch.cat((v, v[..., :3]), -1)
    eager = attend(attention(), q, k, v, causal(6))[0]
    assert torch.allclose(attend(attention("sdpa"), q, k, v, None)[0], eager, atol=1e-6)


def test_scores_and_softmax_dtypes(qkv):
    q, k, v = (t.bfloat16() for t in qkv)
    exact = naive(q.float(), k.float(), v.float())
    errors = {}
    for name, attributes in {"model": {}, "float32": {"scores_dtype": torch.float32}}.items():
        y = attend(attention(**attributes), q, k, v, causal(6).bfloat16())[0]
        assert y.dtype == torch.bfloat16
        errors[name] = (y.float() - exact).norm()
    assert errors["float32"] < errors["model"]
    rounded = attend(attention(softmax_dtype=None), q, k, v, causal(6).bfloat16())[1]
    assert torch.equal(rounded, rounded.bfloat16())


def test_product_and_scale_may_be_rounded_together(qkv):
    q, _, _ = (t.bfloat16() for t in qkv)
    k = q.flip(1)
    exact = q.float() @ k.float().transpose(2, 3) * 0.3
    apart, together = (products(attention(scaled_at_once=flag), q, k, 0.3) for flag in (False, True))
    assert (together.float() - exact.bfloat16().float()).abs().max() < (apart.float() - exact).abs().max()
    assert together.dtype == torch.bfloat16 and not torch.equal(apart, together)
    whole = [products(attention(scaled_at_once=flag), q.float(), k.float(), 0.3) for flag in (False, True)]
    assert torch.allclose(*whole, atol=1e-6)


def test_position_biases_may_be_rounded_with_the_product(qkv):
    """Bloom's: added before they are rounded, the scores are as near as one rounding allows."""
    q, k, v = (t.bfloat16() for t in (qkv[0], qkv[0].flip(1), qkv[0].flip(2)))
    module = attention(scaled_at_once=True, num_key_value_groups=1)
    biases = Alibi(4)(torch.arange(6)[None]).bfloat16()
    mask = (causal(6) + biases).clamp(min=torch.finfo(torch.bfloat16).min).bfloat16()
    scores = (q.float() @ k.float().transpose(2, 3) * 0.3 + biases.float()).bfloat16()
    exact = (scores.float() + causal(6)).softmax(-1).bfloat16()
    assert torch.equal(attend(module, q, k, v, mask)[1], exact)
    module.scaled_at_once = False
    assert not torch.equal(attend(module, q, k, v, mask)[1], exact)


def test_dropout_only_in_training(qkv):
    module = attention(dropout=0.9)
    still = attend(module, *qkv, causal(6))[1]
    assert not torch.equal(attend(module.train(), *qkv, causal(6))[1], still)
    assert torch.equal(eager_attention(module, *qkv, causal(6), scaling=0.3)[1], still)


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12])
def test_alibi_equals_bloom(heads):
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    theirs = build_alibi_tensor(mask, heads, torch.float32).view(2, heads, 1, 5)
    positions = (mask.cumsum(-1) - 1) * mask
    assert torch.allclose(Alibi(heads)(positions), theirs, rtol=1e-6)
    assert torch.allclose(Alibi(heads, scale=0.5)(positions), theirs / 2, rtol=1e-6)
    assert len(alibi_slopes(heads)) == heads


@pytest.mark.parametrize("heads", [1, 6, 8])
def test_alibi_counted_from_the_end_equals_mpt(heads):
    alibi = Alibi(heads, from_end=True)
    biases = alibi(alibi.positions(torch.tensor([[0, 0, 1, 1, 1]]), 5, "cpu"))
    assert torch.equal(biases[0], build_mpt_alibi_tensor(heads, 5))


def test_alibi_in_bfloat16_rounds_the_products():
    positions = torch.arange(300)[None]
    rounded, exact = (Alibi(6, dtype=dtype)(positions) for dtype in (torch.bfloat16, torch.float32))
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(rounded, exact)


def test_functions_of_equations():
    x = torch.tensor([-9.0, 0.5, 9.0])
    assert softcap(x, None) is x
    assert softcap(x, 0) is x
    assert torch.equal(softcap(x, 2.0), 2 * torch.tanh(x / 2))
    assert clip(x, None) is x
    assert clip(x, 3.0).tolist() == [-3.0, 0.5, 3.0]
    assert (per_layer([4, 5], 1), per_layer(7, 1)) == (5, 7)
    assert head_size(SimpleNamespace(hidden_size=64, num_attention_heads=4)) == 16
    assert head_size(SimpleNamespace(hidden_size=64, num_attention_heads=4, head_dim=24)) == 24
    yarn = {"rope_type": "yarn", "factor": 4.0, "mscale_all_dim": 0.5}
    assert yarn_mscale(yarn) == 0.05 * math.log(4.0) + 1
    assert yarn_mscale({**yarn, "rope_type": "default"}) == 1.0


def test_split_heads():
    x = torch.arange(2 * 3 * 8).view(2, 3, 8)
    assert torch.equal(split_heads(x, 4)[:, 1], x[..., 4:])


def test_gates_for_each_element_and_for_each_head():
    y, gate = torch.randn(2, 6, 12), torch.randn(2, 6, 12)
    assert torch.equal(gate_heads(y, gate), y * torch.sigmoid(gate))
    found = gate_heads(y, gate[..., :4], torch.nn.functional.softplus)
    for head in range(4):
        width = slice(3 * head, 3 * head + 3)
        assert torch.equal(found[..., width], y[..., width] * torch.nn.functional.softplus(gate[..., head, None]))


@pytest.mark.parametrize("gates", [1, 3])
def test_a_number_a_head_is_added_to_all_of_its_gates(gates):
    y, gate, bias = torch.randn(2, 6, 12), torch.randn(2, 6, 4 * gates), torch.randn(4)
    found, opened = gate_heads(y, gate, bias=bias), gate.clone()
    for head in range(4):
        opened[..., gates * head : gates * head + gates] += bias[head]
    opened = torch.sigmoid(opened)  # of all at once: processors round the last of a row otherwise than those before it
    for head in range(4):
        width, own = slice(3 * head, 3 * head + 3), slice(gates * head, gates * head + gates)
        assert torch.equal(found[..., width], y[..., width] * opened[..., own])


def test_gates_lie_behind_the_queries_of_their_head():
    q, gate = split_gate(torch.arange(12)[None, None], 2)
    assert q.flatten().tolist() == [0, 1, 4, 5, 8, 9]
    assert gate.flatten().tolist() == [2, 3, 6, 7, 10, 11]


def test_sinks_are_a_parameter_where_they_are_set_up():
    module = attention()
    assert module.sinks is None
    module.setup_sinks(4)
    assert [name for name, _ in module.named_parameters()] == ["sinks"]


def test_a_sink_as_a_factor_leaves_what_a_column_of_its_own_leaves():
    column, factor = attention(num_key_value_groups=1), attention(num_key_value_groups=1)
    factor.sinks_are_factors = True
    for module in (column, factor):
        module.setup_sinks(4)
        module.sinks.data = torch.tensor([-1.0, 0.0, 0.5, 3.0])
    q, k, v = (torch.randn(2, 4, 6, 8, dtype=torch.float64) for _ in "qkv")
    wanted, _ = eager_attention(column, q, k, v, None, scaling=0.3)
    found, weights = eager_attention(factor, q, k, v, None, scaling=0.3)
    assert (found - wanted).abs().max() < 1e-6 and torch.allclose(weights.sum(-1), torch.ones(()).double())
    half = eager_attention(factor.bfloat16(), *(t.bfloat16() for t in (q, k, v)), None, scaling=0.3)[0]
    assert half.dtype == torch.bfloat16


def test_beside_layers_with_sinks_scores_are_rounded_less_their_largest():
    """Equal in exact arithmetic; in bfloat16 the difference is rounded before the softmax, as where there is a sink."""
    module, scores = attention(softmax_dtype=None), 8 * torch.randn(2, 4, 6, 6, dtype=torch.float64)
    plain, half = attention_weights(module, scores), scores.bfloat16()
    alone = attention_weights(module, half)
    module.beside_sinks = True
    assert (attention_weights(module, scores) - plain).abs().max() < 1e-15
    shifted = torch.softmax(half - half.max(-1, keepdim=True).values, dim=-1)
    assert torch.equal(attention_weights(module, half), shifted)
    assert not torch.equal(shifted, alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_share_one_mask_that_sdpa_keeps(qkv, dtype):
    """Equal to a bit, rows that see nothing included; sdpa alone would keep a copy for each layer."""
    module, mask = attention("sdpa"), torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    mask[0, :, :2] = False
    q, k = (t.to(dtype).requires_grad_() for t in qkv[:2])
    v = -k
    plain = torch.nn.functional.scaled_dot_product_attention(
        q, *(t.repeat_interleave(2, dim=1) for t in (k, v)), attn_mask=mask, scale=module.scale
    )
    kept = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.add((t.shape, t.data_ptr())) or t, lambda t: t):
        layers = [attend(module, q, k, v, mask)[0] for _ in range(3)]
    assert all(torch.equal(y, plain.transpose(1, 2).flatten(-2)) for y in layers)
    assert len([1 for shape, _ in kept if shape[-2:] == (6, 6)]) == 1
    assert not mask.additive.requires_grad
    assert attend(module, *(t.float() for t in (q, k, v)), mask)[0].dtype == torch.float32
