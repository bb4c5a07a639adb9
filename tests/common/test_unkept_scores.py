"""Eager attention as a node that keeps q, k and v: no bit is another."""

import math

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from nemo_automodel.components.models.common import row_blocks
from nemo_automodel.components.models.common.attention import eager_attention
from tests.common.test_attention import attention, causal

SHAPES = (2, 4, 12, 8), (2, 2, 12, 8), (2, 2, 12, 6)  # q, k, v
KINDS = {
    "plain": {},
    "capped": {"softcap": 0.5},
    "scores in fp32": {"scores_dtype": torch.float32},
    "softmax in the model's dtype": {"softmax_dtype": None},
    "rounded together": {"scaled_at_once": True},
    "beside sinks": {"beside_sinks": True},
}
MASKS = {
    "none": None,
    "causal": causal(12),
    "a row sees nothing": causal(12).index_fill(2, torch.tensor(0), torch.finfo(torch.bfloat16).min),
    "a bias a head": causal(12) + torch.arange(4.0).view(1, 4, 1, 1),
}


def as_node(monkeypatch, is_node):
    monkeypatch.setattr(row_blocks, "CORE_BYTES", 64 if is_node else 2**30)


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    return [torch.randn(shape) for shape in SHAPES]


def attended(module, q, k, v, mask):
    return eager_attention(module, q, k, v, mask, scaling=0.3, softcap=module.softcap)


def trained(tensors, mask=None, through=attended, needs=(True, True, True), module=None):
    """Output, weights and the gradients of q, k and v."""
    leaves = [one.detach().requires_grad_(need) for one, need in zip(tensors, needs, strict=True)]
    y, weights = through(module or attention(), *leaves, mask)
    y.float().square().sum().backward()
    return [y.detach(), weights.detach(), *(leaf.grad for leaf in leaves)]


def equal(ours, wanted):
    return all(a is b if a is None else torch.equal(a, b) for a, b in zip(ours, wanted, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_the_formulas_bit_for_bit(kind, mask, dtype, qkv, monkeypatch):
    given, mask = [one.to(dtype) for one in qkv], None if MASKS[mask] is None else MASKS[mask].to(dtype)
    module = attention(**KINDS[kind])
    as_node(monkeypatch, False)
    wanted = trained(given, mask, module=module)
    as_node(monkeypatch, True)
    assert equal(trained(given, mask, module=module), wanted)


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True), (True, False, True)]
)
def test_what_needs_no_gradient_gets_none(needs, qkv, monkeypatch):
    as_node(monkeypatch, False)
    wanted = trained(qkv, causal(12), needs=needs)
    as_node(monkeypatch, True)
    assert equal(trained(qkv, causal(12), needs=needs), wanted)


def test_heads_apart_in_memory_and_one_tensor_for_all(qkv, monkeypatch):
    apart = [one.transpose(1, 2).contiguous().transpose(1, 2) for one in qkv]
    same = [qkv[0]] * 3

    def of_one(module, q, k, v, mask):
        return attended(attention(num_key_value_groups=1), q, q, q, mask)

    as_node(monkeypatch, False)
    wanted, alone = trained(apart, causal(12)), trained(same, causal(12), of_one)
    as_node(monkeypatch, True)
    assert equal(trained(apart, causal(12)), wanted)
    for a, b in zip(trained(same, causal(12), of_one)[:3], alone[:3], strict=True):  # three gradients add up
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("read", ["weights", "both"])
def test_weights_have_a_gradient_too(read, qkv, monkeypatch):
    found = []
    for is_node in (False, True):
        as_node(monkeypatch, is_node)
        leaves = [one.clone().requires_grad_() for one in qkv]
        y, weights = attended(attention(), *leaves, causal(12))
        loss = weights.square().sum() + (y.square().sum() if read == "both" else 0)
        found.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_replay_it(reentrant, qkv, monkeypatch):
    as_node(monkeypatch, True)
    wanted = trained(qkv, causal(12))
    replayed = trained(qkv, causal(12), lambda *given: checkpoint(attended, *given, use_reentrant=reentrant))
    assert equal(replayed, wanted)


def kept(qkv, monkeypatch, is_node):
    as_node(monkeypatch, is_node)
    sizes = []
    with saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
        trained(qkv, causal(12), module=attention(softcap=0.5))
    return sizes


def test_no_scores_are_kept(qkv, monkeypatch):
    scores = math.prod(SHAPES[0][:3]) * SHAPES[1][2]
    assert kept(qkv, monkeypatch, False).count(scores) >= 2 and scores not in kept(qkv, monkeypatch, True)[:4]


def test_where_the_formula_stays(qkv, monkeypatch):
    """Dropout draws once, sinks are parameters, a bias may learn, and a compiler sees operators."""
    as_node(monkeypatch, True)
    leaves = [one.requires_grad_() for one in qkv]
    assert "_Read" in str(attended(attention(), *leaves, None)[1].grad_fn)
    sinks = attention()
    sinks.setup_sinks(4)
    torch.nn.init.zeros_(sinks.sinks)
    learned = causal(12).clone().requires_grad_()
    dropped = eager_attention(attention().train(), *leaves, None, scaling=0.3, dropout=0.5)
    graphs = []
    compiled = torch.compile(attended, backend=lambda graph, _: graphs.append(graph) or graph)
    compiled(attention(), *leaves, None)
    assert all("autograd" not in graph.code for graph in graphs)
    for _, weights in (attended(sinks, *leaves, None), attended(attention(), *leaves, learned), dropped):
        assert "_Read" not in str(weights.grad_fn)


def test_no_rows_and_a_second_derivative(qkv, monkeypatch):
    as_node(monkeypatch, True)
    y, _ = attended(attention(), *(one[:0].requires_grad_() for one in qkv), None)
    assert y.shape == (0, 12, 4, 6)
    leaves = [one.requires_grad_() for one in qkv]
    (grad,) = torch.autograd.grad(attended(attention(), *leaves, None)[0].square().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
