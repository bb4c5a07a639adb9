"""Mixers by the gated delta rule: what caches hold of them, padding, packed documents, generation."""

from pathlib import Path

import pytest
import torch
from transformers import DynamicCache, Qwen3NextConfig, StaticCache
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextForCausalLM as Theirs

from codegen.configs import table
from codegen.language.check import read_spec
from codegen.language.loaded import config_class
from codegen.plan.model import build
from codegen.render.files import model_files
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.gated_delta_net import blocks, start_by_channel, start_by_head
from nemo_automodel.parity.sandbox import installed
from tests.contract.asserting import close

ROOT = Path(__file__).parents[2]
SETTINGS = {"max_new_tokens": 8, "do_sample": False}


def generated():
    """The class of a family whose spec waits."""
    spec = read_spec(ROOT / "specs/pending/qwen3_next.yaml", ROOT)
    with installed(spec.name, model_files(build(spec, config_class(spec, table())))) as modules:
        return modules["model"].Qwen3NextForCausalLM


Qwen3NextForCausalLM = generated()


def config(**fields):
    sizes = {
        **{"vocab_size": 61, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "pad_token_id": 0},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "mlp_only_layers": [0, 1, 2]},
        **{
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 6,
            "linear_value_head_dim": 8,
        },
        **{"eos_token_id": None, "layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    }
    return Qwen3NextConfig(**{**sizes, **fields})


def model(backend=None, **fields):
    torch.manual_seed(1)
    made = Qwen3NextForCausalLM(config(**fields), BackendConfig.of(backend)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def ids(length=11, rows=2):
    return torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(2))


def test_backends_agree():
    wanted = model()(input_ids=ids()).logits
    close(model(backend={"delta_rule": "stepwise"})(input_ids=ids()).logits, wanted)


@pytest.mark.parametrize("steps", [(11,), (1,) * 11, (2, 1, 5, 3), (7, 4)])
@pytest.mark.parametrize("static", [False, True])
@torch.no_grad()
def test_pieces_equal_the_whole(steps, static):
    made = model()
    cache = StaticCache(config=made.config, max_cache_len=16) if static else DynamicCache(config=made.config)
    found = [made(input_ids=one, past_key_values=cache).logits for one in ids().split(steps, dim=1)]
    close(torch.cat(found, dim=1), made(input_ids=ids(), use_cache=False).logits)


@torch.no_grad()
def test_a_cache_that_was_emptied_starts_from_nothing():
    made = model()
    cache = DynamicCache(config=made.config)
    for _ in range(2):
        found = made(input_ids=ids(), past_key_values=cache).logits
        close(found, made(input_ids=ids(), use_cache=False).logits)
        cache.reset()
        cache.layers[1] = type(cache.layers[1])()


@torch.no_grad()
def test_padding_on_either_side_changes_nothing():
    made, text = model(), ids(7)
    wanted, zeros = made(input_ids=text).logits, torch.zeros(2, 3, dtype=torch.long)
    for order, place in ((("pad", "text"), slice(3, None)), (("text", "pad"), slice(7))):
        padded = torch.cat([{"pad": zeros, "text": text}[one] for one in order], dim=1)
        mask = torch.cat([{"pad": zeros, "text": torch.ones_like(text)}[one] for one in order], dim=1)
        position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
        found = made(input_ids=padded, attention_mask=mask, position_ids=position_ids).logits
        close(found[:, place], wanted)


@torch.no_grad()
def test_padding_on_the_right_leaves_the_state_as_it_is():
    made, text = model(), ids(7)
    states = []
    for padding in (0, 3):
        cache = DynamicCache(config=made.config)
        padded = torch.nn.functional.pad(text, (0, padding))
        made(input_ids=padded, attention_mask=(padded != 0).long(), past_key_values=cache)
        states.append(cache.layers[0].recurrent_states[0])
    torch.testing.assert_close(*states)


@torch.no_grad()
def test_packed_documents_do_not_see_each_other():
    made, text = model(), ids(11, rows=1)
    positions = torch.cat((torch.arange(4), torch.arange(7)))[None]
    found = made(input_ids=text, position_ids=positions, use_cache=False).logits
    wanted = [made(input_ids=one, use_cache=False).logits for one in text.split((4, 7), dim=1)]
    close(found, torch.cat(wanted, dim=1))


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"cache_implementation": "static"}])
def test_generation_equals_that_without_a_cache(how):
    made, text = model(), ids(6).repeat(1, 2)
    plain = {name: value for name, value in how.items() if name == "num_beams"}
    wanted = made.generate(text, **SETTINGS, **plain, use_cache=False)
    assert torch.equal(made.generate(text, **SETTINGS, **how, disable_compile=True), wanted)


def test_states_cannot_be_cropped_and_say_so():
    """A state forgets what it was before: transformers refuses to generate with a text that may be taken back."""
    with pytest.raises((ValueError, RuntimeError, NotImplementedError)):
        model().generate(ids(6, 1).repeat(1, 2), **SETTINGS, prompt_lookup_num_tokens=3)


def test_a_cache_without_states_says_so():
    with pytest.raises(ValueError, match="layer 0 of this DynamicCache holds no states"):
        model()(input_ids=ids(), past_key_values=DynamicCache())


def test_it_starts_as_the_reference():
    torch.manual_seed(3)
    ours = Qwen3NextForCausalLM(config(linear_num_value_heads=64)).state_dict()
    theirs = Theirs(config(linear_num_value_heads=64)).state_dict()
    for name in ("A_log", "dt_bias", "norm.weight"):
        mine, other = (one[f"model.layers.0.linear_attn.{name}"].exp() for one in (ours, theirs))
        torch.testing.assert_close(mine.mean(), other.mean(), rtol=0.3, atol=0)
        torch.testing.assert_close(mine.max(), other.max(), rtol=0.3, atol=0)


def test_starts_lie_in_their_ranges():
    rates, steps = torch.empty(500), torch.empty(500)
    start_by_head(rates, steps)
    assert 0.01 <= rates.exp().min() < 1 and 15 < rates.exp().max() <= 16.001
    assert (steps == 1).all()
    start_by_channel(rates, steps)
    softplus = torch.nn.functional.softplus(steps)
    assert rates.exp().min() * 1.001 >= 1 and softplus.min() * 1.001 >= 1e-3 and softplus.max() <= 0.1001


def test_blocks_of_groups():
    rows = torch.arange(12)[None]
    assert [one.tolist() for one in blocks(rows, (4, 8))] == [[[0, 1, 2, 3]], [[4, 5, 6, 7, 8, 9, 10, 11]]]
    assert [one.tolist() for one in blocks(rows, (4, 8), 2)] == [[[0, 1, 6, 7]], [[2, 3, 4, 5, 8, 9, 10, 11]]]
