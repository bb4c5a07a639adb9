"""The interpreter against formulas, and against transformers where a spec says what one of its classes does."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from nemo_automodel.parity.compare import distance
from nemo_automodel.parity.randomise import randomise
from tests.reference.interpreter import Interpreter
from tests.reference.interpreter.overlays import base, merge, overlaid
from tests.reference.interpreter.primitives import ACTIVATIONS, alibi_slopes, rotary_table, rotated
from tests.reference.interpreter.values import Box, Missing, softcap, tree, value
from tests.reference.interpreter.weights import Weights

SIZES = {
    **{"vocab_size": 31, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "head_dim": 8},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0},
}


def given(text, **names):
    return value(text, names)


def test_expressions():
    config = Box({"a": [3, 4], "inner": {"b": 2}, "flag": False})
    assert given("config.a[layer] * config.inner.b if not config.flag else 0", config=config, layer=1) == 8
    assert given("1 < layer <= 3 and layer in config.a", config=config, layer=3) is True
    assert given("per_layer(config.a, 0) + per_layer(5, 0) + max(1, int(2.7))", config=config) == 10
    assert given("none") is None and given(0.5) == 0.5
    with pytest.raises(Missing):
        given("config.other", config=config)
    with pytest.raises(SyntaxError):
        given("[x for x in config.a]", config=config)


def test_soft_caps_of_nothing():
    x = torch.tensor([3.0])
    assert softcap(x, None) is x and softcap(x, 0) is x
    assert torch.allclose(softcap(x, 2.0), 2 * torch.tanh(x / 2))


def test_mappings_merge_and_kinds_replace():
    below = {"mlp": {"kind": "moe", "scale": 2}, "norm": {"kind": "rmsnorm", "eps": 1}}
    assert merge(below, {"mlp": "gated"}, True)["mlp"] == {"kind": "gated"}
    assert merge(below, {"norm": {"eps": 2}}, True)["norm"] == {"kind": "rmsnorm", "eps": 2}


def test_overlays_apply_in_order():
    names = {"config": Box({"x": True, "kinds": ["sliding_attention", "mine"], "sliding_window": 5})}
    found = base({"variants": {"when": "config.x", "rope": "none"}}, names)
    assert found["rope"] == "none"
    rules = [
        {"by": "config.kinds[layer]", "kinds": {"mine": {"mlp": "plain"}}},
        {"when": "layer == 1", "norm": {"eps": 2}},
    ]
    first, second = (overlaid(found, rules, names | {"layer": layer}) for layer in (0, 1))
    assert first["attention"]["window"] == "config.sliding_window" and first["mlp"] == {"kind": "gated"}
    assert second["mlp"] == {"kind": "plain"} and second["norm"]["eps"] == 2


def test_fused_rows_are_blocks_of_parts():
    whole = torch.arange(12.0)[:, None].expand(12, 4)
    reader = Weights({}, {"m.qkv.weight": whole.t()})
    spec = {
        "attention": {"kind": "gqa"},
        "checkpoint": {
            "names": {},
            "fused": {"qkv": {"parts": ["q", "k", "v"], "groups": 2}},
            "transposed": ["qkv"],
        },
    }
    rows = {"q": 6, "k": 4, "v": 2}
    found = {role: reader.stored(spec, "m", "", role, rows, "weight")[:, 0].tolist() for role in rows}
    assert found == {"q": [0, 1, 2, 6, 7, 8], "k": [3, 4, 9, 10], "v": [5, 11]}
    assert reader.used == {"m.qkv.weight"}


def test_a_role_beats_its_group_and_both_beat_the_config():
    reader = Weights({"attention_bias": True}, {})
    groups = {"qkv": ("q", "k", "v")}
    section = {"bias": {"k": True, "qkv": False}}
    found = reader.flags(section, ("q", "k", "v", "out"), "attention_bias", groups)
    assert found == {"q": False, "k": True, "v": False, "out": True}


def test_rotation():
    x, angle = torch.randn(1, 1, 3, 4), torch.tensor([[[[0.3, 0.7]] * 3]])
    turned = rotated(x, angle.cos(), angle.sin(), interleaved=True)
    pairs = torch.view_as_complex(x.unflatten(-1, (2, 2))) * torch.polar(torch.ones_like(angle), angle)
    assert torch.allclose(turned, torch.view_as_real(pairs).flatten(-2), atol=1e-6)
    halves = rotated(x[..., [0, 2, 1, 3]], angle.cos(), angle.sin(), interleaved=False)
    assert torch.allclose(halves[..., [0, 2, 1, 3]], turned, atol=1e-6)


def test_tables_of_frequencies():
    plain, factor = rotary_table({}, 8, 100.0, 32, 8, torch.float64)
    assert torch.allclose(plain, 100.0 ** -(torch.arange(4) / 4).double()) and factor == 1.0
    linear, _ = rotary_table({"rope_type": "linear", "factor": 4.0}, 8, 100.0, 32, 8, torch.float64)
    assert torch.allclose(linear, plain / 4)


def test_slopes_take_even_places_first():
    assert torch.allclose(alibi_slopes(4), torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]).double())
    assert torch.allclose(alibi_slopes(3), torch.tensor([2.0**-4, 2.0**-8, 2.0**-2]).double())


def test_activations_are_those_of_transformers():
    from transformers.activations import ACT2FN

    x = torch.linspace(-4, 4, 101)
    for name, activation in ACTIVATIONS.items():
        if name in ACT2FN:
            assert torch.allclose(activation(x), ACT2FN[name](x), atol=2e-6), name


def stored(model_class, config):
    model = model_class._from_config(config, attn_implementation="eager").eval()
    randomise(model)
    return model, {name: tensor.clone() for name, tensor in model.state_dict().items()}


def batch():
    ids = torch.randint(1, 31, (2, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    return ids, mask


def test_an_empty_spec_is_llama():
    config = LlamaConfig(**SIZES)
    model, disk = stored(LlamaForCausalLM, config)
    ids, mask = batch()
    reader = Interpreter({"name": "llama"}, config, disk)
    with torch.no_grad():
        theirs = model(ids, attention_mask=mask).logits
    assert distance(reader(ids, mask)[mask.bool()], theirs[mask.bool()]) < 1e-5
    assert not reader.leftover()


def test_a_mixture_of_stacked_experts_is_mixtral():
    config = MixtralConfig(**SIZES, num_local_experts=5, num_experts_per_tok=2)
    model, disk = stored(MixtralForCausalLM, config)
    spec = {
        "mlp": {"kind": "moe", "router": {"renormalize": True}},
        "checkpoint": {"experts": "stacked", "fused": {"experts.gate_up_proj": ["gate", "up"]}},
    }
    ids, mask = batch()
    with torch.no_grad():
        theirs = model(ids, attention_mask=mask).logits
    assert distance(Interpreter(spec, config, disk)(ids, mask)[mask.bool()], theirs[mask.bool()]) < 1e-5


def test_what_the_spec_does_not_mean_is_told():
    config = LlamaConfig(**SIZES)
    _, disk = stored(LlamaForCausalLM, config)
    ids, _ = batch()
    reader = Interpreter({"name": "llama"}, config, disk | {"model.strange": torch.ones(3)})
    reader(ids)
    assert reader.leftover() == ["model.strange"]
    with pytest.raises(KeyError, match=r"q_proj\.bias"):
        Interpreter({"attention": {"bias": {"q": True}}}, config, disk)(ids)
    with pytest.raises(AssertionError, match="the spec says 16"):
        Interpreter({"attention": {"head_dim": 4}}, config, disk)(ids)


def test_every_expression_is_parsed_once():
    assert tree("config.a") is tree("config.a")
