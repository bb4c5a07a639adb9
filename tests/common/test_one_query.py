"""Attention of one query on a CPU against exact attention, and where PyTorch's is taken."""

from types import SimpleNamespace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.models.common.one_query import is_one_query, one_query
from tests.moe.test_simd import DTYPES, needs

PLAIN = SimpleNamespace(softcap=None, sinks=None, training=False, dropout=0.0)


def drawn(batch, heads, groups, keys, width, wide, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, heads, 1, width), (batch, groups, keys, width), (batch, groups, keys, wide)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def exact(q, k, v, mask, scale):
    each = q.shape[1] // k.shape[1]
    k, v = (one.double().repeat_interleave(each, dim=1) for one in (k, v))
    scores = q.double() @ k.transpose(2, 3) * scale + (0.0 if mask is None else mask.double())
    return (torch.softmax(scores, -1) @ v).transpose(1, 2)


@needs
@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.sampled_from([(1, 1), (4, 4), (6, 2), (9, 1), (20, 2)]),
    st.sampled_from([1, 2, 15, 16, 17, 100, 128, 129, 300]),
    st.sampled_from([(16, 16), (48, 80), (64, 64)]),
    st.sampled_from(["none", "texts", "heads", "one"]),
    st.sampled_from(DTYPES),
    st.integers(0, 2**31),
)
def test_it_is_exact_attention(batch, heads, keys, widths, masked, dtype, seed):
    q, k, v = drawn(batch, *heads, keys, *widths, dtype, seed)
    mask = None
    if masked != "none":
        shape = (1 if masked == "one" else batch, heads[0] if masked == "heads" else 1, 1, keys)
        generator = torch.Generator().manual_seed(seed + 1)
        mask = torch.randn(shape, generator=generator).to(dtype)
        mask[torch.rand(shape, generator=generator) < 0.3] = -float("inf")
        mask[..., -1] = 0.0  # a token sees itself
    y = one_query(q, k, v, mask, 0.3)
    assert (y.shape, y.dtype) == ((batch, 1, heads[0], widths[1]), dtype)
    rounding, expected = 2**-8 if dtype == torch.bfloat16 else 2**-23, exact(q, k, v, mask, 0.3)
    inside = 4e-6 * v.double().abs().max()  # of scores and sums in fp32, whatever the dtype
    assert ((y.double() - expected).abs() <= rounding * expected.abs() + inside).all()


@needs
def test_a_query_that_sees_nothing_reads_zeros_and_nan_stays():
    q, k, v = drawn(2, 2, 1, 20, 16, 16, torch.float32)
    mask = torch.zeros(2, 1, 1, 20)
    mask[0] = -float("inf")
    k[1, 0, 3] = float("nan")
    y = one_query(q, k, v, mask, None)
    assert (y[0] == 0).all() and y[1].isnan().all()


@needs
def test_neither_company_nor_threads_change_a_text():
    q, k, v = drawn(3, 4, 2, 77, 32, 32, torch.float32)
    together, threads = one_query(q, k, v, None, None), torch.get_num_threads()
    for row in range(3):
        assert torch.equal(one_query(*(one[row : row + 1] for one in (q, k, v)), None, None)[0], together[row])
    try:
        torch.set_num_threads(3)
        assert torch.equal(one_query(q, k, v, None, None), together)
    finally:
        torch.set_num_threads(threads)


@needs
def test_where_it_is_taken(monkeypatch):
    q, k, v = drawn(2, 4, 2, 20, 32, 32, torch.float32)
    with torch.no_grad():
        assert is_one_query(PLAIN, q, k, v)
        assert not is_one_query(PLAIN, torch.cat((q, q), 2), k, v), "two queries"
        assert not is_one_query(PLAIN, q[:0], k[:0], v[:0]), "no text"
        assert not is_one_query(PLAIN, q, k.transpose(1, 2).contiguous().transpose(1, 2), v), "keys lie otherwise"
        assert not is_one_query(PLAIN, q.double(), k.double(), v.double()), "dtype"
        assert not is_one_query(PLAIN, q[..., :24].contiguous(), k[..., :24].contiguous(), v), "width"
        assert not is_one_query(PLAIN, q.to("meta"), k.to("meta"), v.to("meta")), "device"
        for field, value in {"softcap": 30.0, "sinks": torch.zeros(4)}.items():
            assert not is_one_query(SimpleNamespace(**{**vars(PLAIN), field: value}), q, k, v), field
        assert not is_one_query(SimpleNamespace(**{**vars(PLAIN), "training": True, "dropout": 0.1}), q, k, v)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not is_one_query(PLAIN, q, k, v), "autocast"
        with FlopCounterMode(display=False):
            assert not is_one_query(PLAIN, q, k, v), "counted"
        monkeypatch.setattr(simd, "is_best", lambda *_: False)
        assert not is_one_query(PLAIN, q, k, v), "another processor"
    assert not is_one_query(PLAIN, q, k, v), "gradients"
