"""Windows, chunks and biases as layers declare them, in one pass and from every kind of cache."""

import pytest
import torch
from transformers import DynamicCache, StaticCache
from transformers.cache_utils import DynamicSlidingWindowLayer, StaticSlidingWindowLayer

from nemo_automodel.components.models.common.alibi import Alibi
from nemo_automodel.components.models.common.masks import with_bias
from tests.common.tiny import TinyConfig, TinyForCausalLM, batch, tiny

STRUCTURES = {
    "plain": {},
    "window": {"windows": [6, None]},
    "two windows": {"windows": [4, 7]},
    "chunk": {"chunks": [None, 6]},
    "alibi": {"use_alibi": True},
    "alibi and window": {"use_alibi": True, "windows": [None, 6]},
    "positions from the mask": {"learned_positions": True},
}


def seen_by_the_last(model, length=20):
    """Which positions the last token's first-layer attention gives weight to."""
    ids = torch.arange(3, 3 + length)[None]
    return model(input_ids=ids, output_attentions=True).attentions[0][0, :, -1].amax(0) > 0


def test_window_is_the_layers_and_not_the_configs():
    model = tiny(windows=[6, 6], sliding_window=3, layer_types=["full_attention"] * 2)
    assert seen_by_the_last(model).tolist() == [False] * 14 + [True] * 6
    assert model.config.sliding_window == 3


def test_no_window_where_no_layer_declares_one():
    assert seen_by_the_last(tiny(sliding_window=3)).all()


def test_chunks_do_not_see_each_other():
    assert seen_by_the_last(tiny(chunks=[6, 6])).tolist() == [False] * 18 + [True] * 2


def test_window_and_chunk_exclude_each_other():
    with pytest.raises(ValueError, match="window 4 and chunk 8 exclude each other"):
        tiny(windows=[4, None], chunks=[8, None])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("projections", ["split", "packed"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_every_cache_generates_what_no_cache_does(name, projections, implementation):
    model, inputs = tiny(projections, implementation, **STRUCTURES[name]), batch()
    settings = {"max_new_tokens": 9, "do_sample": False}
    expected = model.generate(**inputs, **settings, use_cache=False)
    assert torch.equal(model.generate(**inputs, **settings), expected)
    static = model.generate(**inputs, **settings, cache_implementation="static", disable_compile=True)
    assert torch.equal(static, expected)


@pytest.mark.parametrize("name", STRUCTURES)
def test_padding_changes_nothing(name):
    model, inputs = tiny(**STRUCTURES[name]), batch()
    padded = model(**inputs, position_ids=(inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)).logits[0, 5:]
    alone = model(input_ids=inputs["input_ids"][:1, 5:]).logits[0]
    assert torch.allclose(padded, alone, atol=2e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["plain", "window", "chunk", "alibi"])
def test_packed_sequences_do_not_see_each_other(name, implementation):
    model = tiny(attention=implementation, **STRUCTURES[name])
    parts = [torch.randint(3, 61, (1, n)) for n in (7, 11)]
    positions = torch.cat([torch.arange(p.shape[1]) for p in parts])[None]
    packed = model(input_ids=torch.cat(parts, 1), position_ids=positions, use_cache=False).logits
    apart = torch.cat([model(input_ids=p).logits for p in parts], 1)
    assert torch.allclose(packed, apart, atol=2e-5)


def padded(*lengths, length=12):
    """ids and a mask of texts, each padded behind."""
    mask = (torch.arange(length) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": batch(len(lengths), length)["input_ids"], "attention_mask": mask}


def masks_of(model, input_ids, attention_mask, cache=None):
    x = model.get_input_embeddings()(input_ids)
    return list(model.model.masks(x, attention_mask, cache, None).values())


def test_padding_behind_needs_no_mask_of_its_own():
    """No token sees what comes after it: sdpa's causal kernel reads half of what a mask makes it read."""
    model, inputs = tiny(attention="sdpa", windows=[12, None]), padded(12, 7, 1)
    assert masks_of(model, **inputs) == [None, None]
    real, eager = inputs["attention_mask"].bool(), tiny(attention="eager", windows=[12, None])
    assert torch.allclose(model(**inputs).logits[real], eager(**inputs).logits[real], atol=2e-5)


@pytest.mark.parametrize("name", ["padding before", "a hole", "a window", "a static cache", "tokens that were seen"])
def test_other_padding_needs_one(name):
    model, inputs, cache = tiny(attention="sdpa", windows=[8 if name == "a window" else 12, None]), padded(12, 7), None
    if name == "padding before":
        inputs["attention_mask"] = inputs["attention_mask"].flip(-1)
    elif name == "a hole":
        inputs["attention_mask"][1, 3] = 0
    elif name == "a static cache":
        cache = StaticCache(model.config, max_cache_len=16)
    elif name == "tokens that were seen":
        cache = model(inputs["input_ids"], use_cache=True).past_key_values
        inputs["attention_mask"] = torch.cat((torch.ones(2, 12).long(), inputs["attention_mask"]), dim=-1)
    assert masks_of(model, **inputs, cache=cache)[0] is not None


def test_caches_follow_the_layers():
    model = tiny(windows=[6, None], sliding_window=3)
    cache = model(**batch(), use_cache=True).past_key_values
    assert [type(layer) is DynamicSlidingWindowLayer for layer in cache.layers] == [True, False]
    assert cache.layers[0].sliding_window == 6
    settings = {"max_new_tokens": 3, "do_sample": False, "return_dict_in_generate": True, "disable_compile": True}
    static = model.generate(**batch(), cache_implementation="static", **settings).past_key_values
    assert [type(layer) is StaticSlidingWindowLayer for layer in static.layers] == [True, False]


def test_a_given_cache_is_kept():
    model, cache = tiny(windows=[6, None]), DynamicCache()
    ids = torch.arange(3, 23)[None]
    model(input_ids=ids[:, :12], past_key_values=cache)
    step = model(input_ids=ids[:, 12:], past_key_values=cache)
    assert step.past_key_values is cache
    assert torch.allclose(step.logits, model(input_ids=ids).logits[:, 12:], atol=2e-5)


def test_masks_may_come_as_a_dict():
    model, inputs = tiny(windows=[6, None]), batch()
    x = model.get_input_embeddings()(inputs["input_ids"])
    positions = torch.arange(20)[None]
    masks = model.create_masks_for_generate(model.config, x, inputs["attention_mask"], None, positions)
    assert set(masks) == {"sliding_attention", "full_attention"}
    given = model(input_ids=inputs["input_ids"], attention_mask=masks).logits
    assert torch.equal(given, model(**inputs).logits)


@pytest.mark.parametrize("sum_dtype", [None, torch.float32])
def test_biases_keep_their_dtype_where_the_sum_has_it(sum_dtype):
    alibi, mask = Alibi(6, sum_dtype=sum_dtype), torch.zeros(1, 1, 300, 300, dtype=torch.bfloat16)
    biased = with_bias(mask, alibi, None, 0, mask.dtype, alibi.sum_dtype)
    assert biased.dtype == (sum_dtype or torch.bfloat16)
    assert torch.equal(biased[0, :, 0], alibi(torch.arange(300)[None])[0, :, 0]) == (sum_dtype is not None)


def test_flex_refuses_alibi_and_says_what_to_use():
    model = tiny(use_alibi=True)
    model.config._attn_implementation = "flex_attention"
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(ValueError, match="takes no ALiBi biases: use 'eager' or 'sdpa'"),
    ):
        model(**batch())


@torch.no_grad()  # on a CPU flex has no backward
def test_flex_equals_eager():
    model, inputs = tiny(windows=[6, None], head_dim=16), batch()
    expected = model(**inputs).logits
    model.set_attn_implementation("flex_attention")
    real = inputs["attention_mask"].bool()
    with torch.compiler.set_stance("force_eager"):
        flex = model(**inputs).logits
    assert torch.allclose(flex[real], expected[real], atol=2e-5)


def test_a_base_model_of_layers_under_another_name_knows_its_kinds():
    model = TinyForCausalLM(TinyConfig(windows=[6, None]))
    assert [layer.mask_kind for layer in model.model.blocks] == ["sliding_attention", "full_attention"]


def compiled_with(model, **inputs):
    """Logits of the compiled model, and for each call of sdpa whether it got a mask."""
    masked = []

    def record(graph, _):
        calls = [node for node in graph.graph.nodes if node.target is torch.nn.functional.scaled_dot_product_attention]
        masked.extend(call.kwargs["attn_mask"] is not None for call in calls)
        assert all(call.kwargs["is_causal"] is (call.kwargs["attn_mask"] is None) for call in calls)
        return graph

    torch._dynamo.reset()
    with torch.no_grad():
        return torch.compile(model, backend=record, fullgraph=True)(**inputs, use_cache=False).logits, masked


POSITIONS = torch.cat([torch.arange(7), torch.arange(13)])[None]


@pytest.mark.parametrize(
    ("structure", "inputs", "masked"),
    [
        ({}, {}, [False, False]),
        ({"windows": [20, 19]}, {}, [False, True]),
        ({"chunks": [None, 20]}, {}, [False, False]),
        ({"use_alibi": True}, {}, [True, True]),
        ({}, {"position_ids": POSITIONS}, [True, True]),
        ({"chunks": [None, 6]}, {"position_ids": POSITIONS}, [True, True]),
        ({}, {"attention_mask": torch.tensor([[0] * 3 + [1] * 17])}, [True, True]),
    ],
)
def test_a_compiled_model_makes_a_mask_where_causality_is_not_all(structure, inputs, masked):
    model, ids = tiny(attention="sdpa", **structure), torch.arange(3, 23)[None]
    logits, found = compiled_with(model, input_ids=ids, **inputs)
    assert found == masked
    assert torch.allclose(logits, model(input_ids=ids, **inputs, use_cache=False).logits, atol=2e-5)
