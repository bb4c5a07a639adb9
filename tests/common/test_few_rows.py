"""Linear layers of a few rows on a CPU: exact products, where PyTorch's are taken, and for how long layers are ours."""

import copy
import pickle
from inspect import unwrap
from threading import Barrier, Thread
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LogitsProcessor, TextStreamer

from nemo_automodel.components.models.common import few_rows, simd
from nemo_automodel.components.models.common.few_rows import FewRowsLinear
from tests.common.tiny import batch, tiny
from tests.moe.test_simd import DTYPES, assert_exact, needs

SIZES = st.sampled_from([16, 48, 64, 80, 272])
LAYOUTS = {
    "one text": lambda x: x[None],
    "texts of one token": lambda x: x[:, None],
    "no dimension beside": lambda x: x[0],
    "every second": lambda x: x.repeat_interleave(2, 0)[::2],
    "columns": lambda x: torch.cat((x, x), 1)[:, : x.shape[1]],
    "turned": lambda x: x.t().contiguous().t(),
}


def layer(inner=32, outer=48, bias=True, dtype=torch.float32, kind=FewRowsLinear):
    torch.manual_seed(0)
    made = nn.Linear(inner, outer, bias, dtype=dtype).requires_grad_(False)
    made.__class__ = kind
    return made


@needs
@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8) | st.sampled_from([9, 200]),
    *(SIZES, SIZES, st.booleans(), st.sampled_from([*LAYOUTS]), st.sampled_from(DTYPES)),
)
def test_its_products_are_exact_and_a_row_knows_no_other(rows, inner, outer, bias, layout, dtype):
    ours = layer(inner, outer, bias, dtype)
    x = LAYOUTS[layout](torch.randn(rows, inner).to(dtype))
    with torch.no_grad(), mock.patch.object(simd, "is_best_of_many_rows", lambda dtype: True):
        y = ours(x)
        at_once = x.shape[:-1].numel() <= few_rows.ROWS
        alone = (
            [ours(one) for one in x.reshape(-1, inner)] if at_once else [*ours(x.reshape(-1, inner).flip(0)).flip(0)]
        )
    weight, added = ours.weight.double(), ours.bias.double() if bias else torch.zeros(outer, dtype=torch.double)
    assert y.shape == (*x.shape[:-1], outer) and y.dtype == dtype and y.is_contiguous()
    assert_exact(y, x.double() @ weight.T + added, x.double().abs() @ weight.abs().T + added.abs(), inner + 1)
    assert torch.equal(torch.stack(alone), y.reshape(-1, outer))


class Wrapped(torch.Tensor):
    """What DTensors and quantised weights are: a subclass."""


def in_autocast(x, layer):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return layer(x)


def counted(x, layer):
    with FlopCounterMode(display=False) as counter:
        y = layer(x)
    assert counter.get_total_flops() > 0
    return y


def turned(layer):
    layer.weight = nn.Parameter(layer.weight.t().contiguous().t())
    return layer


def wrapped(layer):
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Wrapped))
    return layer


OTHERWISE = {
    "many rows": (torch.ones(9, 32), layer, None),
    "no row": (torch.ones(0, 32), layer, None),
    "another dtype": (torch.ones(2, 32).double(), lambda: layer().double(), None),
    "an odd width": (torch.ones(2, 24), lambda: layer(24), None),
    "an odd number of columns": (torch.ones(2, 32), lambda: layer(32, 40), None),
    "a weight that lies otherwise": (torch.ones(2, 32), lambda: turned(layer()), None),
    "a subclass": (torch.ones(2, 32).as_subclass(Wrapped), layer, None),
    "a weight of a subclass": (torch.ones(2, 32), lambda: wrapped(layer()), None),
    "another device": (torch.ones(2, 32, device="meta"), lambda: layer().to("meta"), None),
    "autocast": (torch.ones(2, 32), layer, in_autocast),
    "counted": (torch.ones(2, 32), layer, counted),
    "batched": (torch.ones(2, 32), layer, lambda x, layer: torch.vmap(layer)(x)),
    "traced": (torch.ones(2, 32), layer, lambda x, layer: torch.jit.trace(layer, x, check_trace=False)(x)),
    "exported": (torch.ones(2, 32), layer, lambda x, layer: torch.export.export(layer, (x,)).module()(x)),
    "compiled": (torch.ones(2, 32), layer, lambda x, layer: torch.compile(layer, backend="eager", fullgraph=True)(x)),
}


def test_where_many_rows_are_the_extensions(monkeypatch):
    """In bfloat16 on a processor without AVX-512, whose products PyTorch has none of its own for."""
    monkeypatch.setattr(simd, "is_best", lambda *_: True)
    by_processor = {}
    for more in ((), ("avx512_f", "avx512_bw", "avx512_vl")):
        monkeypatch.setattr(simd, "_features", lambda more=more: dict.fromkeys(("avx2", "fma3", *more), True))
        by_processor[more] = [unwrap(simd.is_best_of_many_rows)(dtype) for dtype in (torch.float32, torch.bfloat16)]
    assert [*by_processor.values()] == [[False, True], [False, False]]


@pytest.mark.parametrize("case", OTHERWISE)
def test_all_else_is_pytorchs(case, monkeypatch):
    monkeypatch.setattr(simd, "linear", None)
    x, make, call = OTHERWISE[case]
    call, ours = call or (lambda x, layer: layer(x)), make()
    with torch.no_grad():
        y = call(x, ours)
        ours.__class__ = nn.Linear
        wanted = call(x, ours)
    assert type(y) is type(wanted) and (y.shape, y.dtype) == (wanted.shape, wanted.dtype)
    assert y.is_meta or torch.equal(y, wanted)


def test_gradients_and_mistakes_are_pytorchs(monkeypatch):
    monkeypatch.setattr(simd, "linear", None)
    x = torch.ones(2, 32, requires_grad=True)
    layer()(x).sum().backward()
    assert x.grad is not None
    with torch.no_grad(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        layer()(torch.ones(2, 16))


def small(**fields):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "head_dim": 16, "vocab_size": 64}
    return tiny(attention="sdpa", **{**sizes, **fields})


class Seen(LogitsProcessor):
    """What classes linear layers have while the model generates; `then` is called beside each token."""

    def __init__(self, model, then=lambda: None):
        self.model, self.then, self.kinds = model, then, set()

    def __call__(self, ids, scores):
        self.kinds |= kinds(self.model)
        self.then()
        return scores


def kinds(model):
    return {type(module) for module in model.modules() if isinstance(module, nn.Linear)}


def generate(model, processor, **choices):
    inputs = {**batch(rows=2, length=6, pad=2), **choices}
    return model.generate(**inputs, max_new_tokens=5, do_sample=False, logits_processor=[processor])


@pytest.fixture
def small_weights(monkeypatch):
    monkeypatch.setattr(few_rows, "NUMBERS", 0)


@needs
@pytest.mark.usefixtures("small_weights")
@pytest.mark.parametrize("choices", [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}])
def test_generation_gives_the_same_tokens_and_leaves_plain_layers(choices, monkeypatch):
    model = small()
    seen = Seen(model)
    made = generate(model, seen, **choices)
    assert seen.kinds == {FewRowsLinear} and kinds(model) == {nn.Linear} and not few_rows.USERS
    monkeypatch.setattr(simd, "is_best", lambda *_: False)
    seen = Seen(model)
    assert torch.equal(generate(model, seen, **choices), made)
    assert seen.kinds == {nn.Linear}, "there is no extension"


@needs
@pytest.mark.usefixtures("small_weights")
def test_assistants_streams_and_generation_in_generation():
    model, streamed = small(), []
    inner, outer = Seen(model), Seen(model, lambda: streamed.append(len(few_rows.USERS)))
    alone = {name: one[1:] for name, one in batch(rows=2, length=6).items()}
    wanted = generate(model, inner, **alone)
    assert torch.equal(generate(model, outer, **alone, assistant_model=small(num_hidden_layers=1)), wanted)
    nested = Seen(model, lambda: generate(model, inner, **alone))
    streamer = TextStreamer(None)
    streamer.put, streamer.end = lambda ids: streamed.append(ids), lambda: None
    assert torch.equal(generate(model, nested, **alone, streamer=streamer), wanted)
    assert nested.kinds == inner.kinds == outer.kinds == {FewRowsLinear} and streamed
    assert kinds(model) == {nn.Linear} and not few_rows.USERS


@needs
@pytest.mark.usefixtures("small_weights")
def test_threads_and_mistakes_leave_plain_layers():
    model, both, found = small(), Barrier(2, timeout=60), []

    def fails():
        both.wait()
        raise KeyError("mine")

    def waits():
        if not found:
            found.append("the first token")
            both.wait()
            both.wait()

    def one():
        with pytest.raises(KeyError):
            generate(model, Seen(model, fails))
        found.append(kinds(model))
        both.wait()

    thread = Thread(target=one)
    thread.start()
    made = generate(model, Seen(model, waits))
    thread.join()
    assert found == ["the first token", {FewRowsLinear}], "one failed while the other one generated"
    assert kinds(model) == {nn.Linear} and not few_rows.USERS
    assert torch.equal(made, generate(model, Seen(model)))


@needs
@pytest.mark.usefixtures("small_weights")
def test_copies_and_pickles_made_meanwhile_are_plain():
    model, copies = small(), []
    generate(model, Seen(model, lambda: copies.extend((copy.deepcopy(model), pickle.loads(pickle.dumps(model))))))
    assert all(kinds(one) == {nn.Linear} for one in copies)
    assert torch.equal(generate(copies[0], Seen(copies[0])), generate(copies[1], Seen(copies[1])))


@needs
@pytest.mark.usefixtures("small_weights")
def test_layers_that_are_watched_or_wrapped_stay_what_they_are():
    model, watched = small(), []
    model.lm_head.register_forward_hook(lambda module, *_: watched.append(type(module)))
    seen = Seen(model)
    generate(model, seen)
    assert set(watched) == {nn.Linear} and seen.kinds == {nn.Linear, FewRowsLinear}


@needs
@pytest.mark.usefixtures("small_weights")
def test_adapters_and_compiled_layers():
    model = small()
    plain = generate(model, Seen(model))
    for block in model.model.blocks:
        block.mlp.compile(backend="eager")
    assert torch.equal(generate(model, Seen(model)), plain)
    adapted = get_peft_model(small(), LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=True))
    seen = Seen(adapted)
    assert torch.equal(generate(adapted, seen), plain)
    assert FewRowsLinear in seen.kinds and kinds(adapted) == {nn.Linear}
    assert torch.equal(generate(adapted.merge_and_unload(), Seen(adapted)), plain)


def test_generation_with_gradients_is_there_still():
    model = small()
    model.generation_config.pad_token_id = 0
    inputs = {name: one[1:] for name, one in batch(rows=2, length=6).items()}
    made = unwrap(type(model).generate)(
        model, **inputs, max_new_tokens=2, return_dict_in_generate=True, output_logits=True
    )
    assert made.logits[0].requires_grad
