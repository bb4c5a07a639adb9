"""Rotary tables bit for bit against transformers', and the layouts that apply them."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.cohere.modeling_cohere import apply_rotary_pos_emb as cohere_rotary
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.phimoe.configuration_phimoe import PhimoeConfig
from transformers.models.phimoe.modeling_phimoe import PhimoeRotaryEmbedding

from nemo_automodel.components.models.common import get_rope_config, simd
from nemo_automodel.components.models.common.rope import (
    RotaryTable,
    apply_rope,
    rotate_halves,
    rotate_pairs,
    tables_by_layer,
)
from tests.moe.test_simd import DTYPES, needs

OLD = {"original_max_position_embeddings": 16}
TYPES = {
    "default": {},
    "linear": {"factor": 3.0},
    "dynamic": {"factor": 4.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **OLD},
    "yarn": {"factor": 4.0, **OLD},
    "yarn untruncated": {"factor": 4.0, "truncate": False, "beta_fast": 20.0, "beta_slow": 2.0, **OLD},
    "yarn mscale": {"factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.3, **OLD},
    "proportional": {"partial_rotary_factor": 0.6, "factor": 3.0},
    "proportional whole": {},
    "longrope": {"short_factor": [1.0 + i / 7 for i in range(8)], "long_factor": [2.0 + i for i in range(8)], **OLD},
}


def llama(name):
    parameters = {"rope_type": name.split()[0], "rope_theta": 10000.0, **TYPES[name]}
    return LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=64, rope_parameters=parameters)


def table(config):
    return RotaryTable(config.rope_parameters, 16, config.max_position_embeddings)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [12, 100])
@pytest.mark.parametrize("name", TYPES)
def test_tables_equal_transformers(name, length, dtype):
    config = llama(name)
    positions, x = torch.arange(length)[None], torch.zeros(1, dtype=dtype)
    expected = LlamaRotaryEmbedding(config)(x, positions)
    for ours, theirs in zip(table(config)(x, positions), expected, strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, theirs[..., :8])


def test_pairs_beyond_the_share_stand_still():
    share = {"rope_type": "proportional", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    cos, sin = RotaryTable(share, 16)(torch.zeros(1), torch.arange(5)[None])
    assert cos.shape[-1] == 8 and (cos[..., 4:] == 1).all() and (sin[..., 4:] == 0).all()
    assert torch.equal(sin[..., :4], RotaryTable(1e4, 16)(torch.zeros(1), torch.arange(5)[None])[1][..., :4])


def test_every_rope_type_of_a_decoder_is_covered():
    assert {name.split()[0] for name in TYPES} >= set(ROPE_INIT_FUNCTIONS)


def test_longrope_switches_with_the_batch_and_back():
    rotary, x = table(llama("longrope")), torch.zeros(1)
    short = rotary(x, torch.arange(16)[None])[0]
    long = rotary(x, torch.arange(17)[None])[0]
    assert not torch.equal(short, long[:, :16])
    assert torch.equal(short, rotary(x, torch.arange(16)[None])[0])


@pytest.mark.parametrize("kind", ["linear", "dynamic", "llama3", "yarn", "longrope"])
def test_mscale_switches_in_place_of_a_factor_and_of_frequencies(kind):
    """As in PhimoeRotaryEmbedding of transformers, for every type but the default."""
    parameters = {"rope_type": kind, "rope_theta": 1e4, **TYPES[kind], "original_max_position_embeddings": 16}
    parameters |= {"short_mscale": 1.5, "long_mscale": 3.0}
    config = PhimoeConfig(hidden_size=64, num_attention_heads=4, rope_parameters=parameters, max_position_embeddings=64)
    reference, rotary = PhimoeRotaryEmbedding(config), RotaryTable(parameters, 16, 64)
    for length in (16, 17, 16):
        positions = torch.arange(length)[None]
        wanted, made = reference(torch.zeros(1), positions), rotary(torch.zeros(1), positions)
        assert all(torch.equal(one, other[..., : one.shape[-1]]) for one, other in zip(made, wanted, strict=True))


def test_alpha_makes_dynamic_static():
    rotary = RotaryTable({"rope_type": "dynamic", "rope_theta": 1e4, "alpha": 50.0}, 16, 8)
    same = RotaryTable(1e4 * 50.0 ** (16 / 14), 16)
    for length in (4, 40):
        positions = torch.arange(length)[None]
        assert torch.equal(rotary(torch.zeros(1), positions)[0], same(torch.zeros(1), positions)[0])


def test_table_keeps_its_dtype_and_holds_no_state():
    rotary = RotaryTable(1e4, 16, dtype=torch.float32).to(torch.bfloat16)
    assert rotary(torch.zeros(1, dtype=torch.bfloat16), torch.arange(4)[None])[0].dtype == torch.float32
    assert not rotary.state_dict()
    assert not list(rotary.buffers())


def test_layers_that_turn_alike_share_a_table():
    scaled = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    made = [RotaryTable(1e4, 16), None, RotaryTable(5e5, 16), RotaryTable(1e4, 16), RotaryTable(1e4, 16, width=8)]
    tables = tables_by_layer([*made, RotaryTable(scaled, 16), RotaryTable(dict(scaled), 16), RotaryTable(1e4, 8)])
    assert list(tables) == ["0", "2", "3", "4", "5", "6", "7"]
    assert len({*tables.values()}) == 4 and tables["0"] is tables["3"] and tables["5"] is tables["6"]
    assert tables["4"] is tables["7"], "a table of half a head is that of a head half as wide"


def test_unknown_type_is_refused():
    with pytest.raises(ValueError, match="'linaer' is not one of default, linear"):
        RotaryTable({"rope_type": "linaer", "rope_theta": 1e4}, 16)


@pytest.fixture
def qk():
    torch.manual_seed(0)
    return torch.randn(2, 4, 9, 16), torch.randn(2, 2, 9, 16)


def angles(width=16, dtype=torch.float32):
    return RotaryTable(1e4, width)(torch.zeros(1, dtype=dtype), torch.arange(9)[None])


def test_halves_equal_llama(qk):
    cos, sin = (torch.cat((t, t), -1) for t in angles())
    for ours, theirs in zip(apply_rope(*qk, angles()), apply_rotary_pos_emb(*qk, cos, sin), strict=True):
        assert torch.equal(ours, theirs)


def test_pairs_in_fp32_equal_cohere(qk):
    qk = [t.bfloat16() for t in qk]
    rope = angles(dtype=torch.bfloat16)
    cos, sin = (t.repeat_interleave(2, -1) for t in rope)
    ours = apply_rope(*qk, rope, rotate_pairs, dtype=torch.float32)
    for a, b in zip(ours, cohere_rotary(*qk, cos, sin), strict=True):
        assert torch.equal(a, b)


def test_fp32_table_rotates_in_fp32_and_rounds_once(qk):
    q, k = (t.bfloat16() for t in qk)
    ours = apply_rope(q, k, angles())[0]
    exact = apply_rope(q.float(), k.float(), angles())[0]
    assert torch.equal(ours, exact.bfloat16())


@pytest.mark.parametrize("rotate", [rotate_halves, rotate_pairs])
def test_partial_and_odd_widths(qk, rotate):
    rope = angles(width=5)  # rotates 6
    q, _ = apply_rope(*qk, rope, rotate)
    assert torch.equal(q[..., 6:], qk[0][..., 6:])
    assert torch.allclose(q[..., :6].norm(dim=-1), qk[0][..., :6].norm(dim=-1), atol=1e-5)
    assert not torch.allclose(q[..., 1:, :6], qk[0][..., 1:, :6])


def test_sign_turns_back(qk):
    forth = apply_rope(*qk, angles())
    back = apply_rope(*forth, angles(), sign=-1)
    assert torch.allclose(back[0], qk[0], atol=1e-5)


def test_get_rope_config_reads_both_forms():
    new = LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5})
    assert get_rope_config(new) == (5e5, {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}, 1.0)
    old = SimpleNamespace(rope_theta=1e6, rope_scaling={"type": "linear", "factor": 2.0}, partial_rotary_factor=0.5)
    theta, parameters, partial = get_rope_config(old)
    assert (theta, parameters["rope_type"], parameters["factor"], partial) == (1e6, "linear", 2.0, 0.5)
    assert get_rope_config(SimpleNamespace(rotary_pct=0.25))[2] == 0.25


def test_get_rope_config_asks_for_the_layer_type():
    config = SimpleNamespace(rope_parameters={"full": {"rope_theta": 1e6}, "sliding": {"rope_theta": 1e4}})
    assert get_rope_config(config, "sliding")[0] == 1e4
    with pytest.raises(ValueError, match="name one of full, sliding"):
        get_rope_config(config)


def test_a_compiled_table_is_stored_and_the_same():
    """A compiler that saw through it would compute powers and cosines in each layer's kernels."""
    table, x, positions = RotaryTable(10000.0, 16), torch.randn(2, 9, 16), torch.arange(9)[None]
    graphs = []
    compiled = torch.compile(table, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    assert all(torch.equal(a, b) for a, b in zip(compiled(x, positions), table(x, positions), strict=True))
    assert [str(node.target) for node in graphs[0].graph.nodes].count("nemo_automodel.stored.default") == 2


@needs
@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.sampled_from([1, 5]),
    st.sampled_from([(1, 1), (6, 2)]),
    st.sampled_from([(32, 32), (48, 32), (80, 64), (64, 64)]),
    st.booleans(),
    st.sampled_from([1, -1]),
    st.sampled_from(DTYPES),
)
def test_the_extension_turns_as_the_formula(texts, length, heads, widths, same_place, sign, dtype):
    """Bit for bit, gradients too, however queries lie, and results as the formula's do."""
    total = sum(heads)
    both = torch.randn(texts, length, total, widths[0]).to(dtype)
    positions = torch.randint(50, (1 if same_place else texts, length))
    rope = RotaryTable(10000.0, widths[0], width=widths[1])(both, positions)
    results = []
    for reads in (simd.reads, lambda *_: False):
        with mock.patch.object(simd, "reads", reads):
            leaf = both.clone().requires_grad_()
            turned = apply_rope(*leaf.transpose(1, 2).split(heads, dim=1), rope, sign=sign)
            name = turned[0].grad_fn.name()
            joined = torch.cat(turned, dim=1)
            joined.backward((joined * joined).detach())
            results.append((*turned, leaf.grad))
        assert (name == "_TurnedBackward") == (reads is simd.reads)
    for one, other in zip(*results, strict=True):
        assert one.shape[2] == 1 or one.stride() == other.stride()
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@needs
def test_what_is_turned_can_be_differentiated_twice():
    q = torch.randn(1, 2, 3, 32, requires_grad=True)
    rope = RotaryTable(10000.0, 32)(q, torch.arange(3)[None])
    turned = apply_rope(q, q, rope)[0]
    assert turned.grad_fn.name() == "_TurnedBackward"
    (slope,) = torch.autograd.grad(turned.pow(3).sum(), q, create_graph=True)
    (curve,) = torch.autograd.grad(slope.square().sum(), q)
    with mock.patch.object(simd, "reads", lambda *_: False):
        (slope,) = torch.autograd.grad(apply_rope(q, q, rope)[0].pow(3).sum(), q, create_graph=True)
        torch.testing.assert_close(curve, torch.autograd.grad(slope.square().sum(), q)[0])


@needs
def test_where_the_extension_turns(monkeypatch):
    monkeypatch.setattr(simd, "rope", None)
    q, k = torch.randn(2, 4, 1, 32), torch.randn(2, 2, 1, 32)
    rope = RotaryTable(10000.0, 32)(q, torch.tensor([[3], [5]]))
    with torch.no_grad():
        apply_rope(q, k, rope, rotate_pairs), apply_rope(q.bfloat16(), k.bfloat16(), rope, dtype=torch.float32)
        apply_rope(q[:0], k[:0], [one[:1] for one in rope])
        apply_rope(*(torch.randn(2, 4, 1, 64)[..., ::2] for _ in "qk"), rope)
        with pytest.raises(RuntimeError, match="size"):
            apply_rope(q[..., :16].contiguous(), k[..., :16].contiguous(), rope)
        with pytest.raises(TypeError, match="not callable"):
            apply_rope(q, k, rope)
