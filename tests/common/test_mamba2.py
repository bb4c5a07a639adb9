"""The state space mixer of Mamba-2: caches, padding, packed documents, and what the language has of it."""

import pytest
import torch
from transformers import DynamicCache, Mamba2Config, StaticCache

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.mamba2.model import Mamba2ForCausalLM

SETTINGS = {"max_new_tokens": 8, "do_sample": False}


def model(backend=None, **fields):
    torch.manual_seed(1)
    config = Mamba2Config(
        **{"vocab_size": 61, "hidden_size": 24, "num_heads": 6, "head_dim": 8, "n_groups": 2, "state_size": 5},
        **{"num_hidden_layers": 3, "pad_token_id": 0, "eos_token_id": None, "residual_in_fp32": False, **fields},
    )
    made = Mamba2ForCausalLM(config, BackendConfig.of(backend)).eval()
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, std=1.0 if "A_log" in name or "dt_bias" in name else 0.3)
    return made


def ids(length=11, rows=2):
    return torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(2))


def test_forms_agree():
    wanted = model()(input_ids=ids(70)).logits
    torch.testing.assert_close(model(backend={"scan": "stepwise"})(input_ids=ids(70)).logits, wanted)


def test_steps_are_bounded_from_a_cache_too():
    made, limits = model(time_step_limit=[0.5, 0.7]), []
    cache = DynamicCache(config=made.config)
    with torch.no_grad():
        found = [made(input_ids=one, past_key_values=cache).logits for one in ids().split(1, dim=1)]
        torch.testing.assert_close(torch.cat(found, dim=1), made(input_ids=ids(), use_cache=False).logits)
        assert not torch.equal(found[-1], model()(input_ids=ids()).logits[:, -1:]), limits


@pytest.mark.parametrize("steps", [(11,), (1,) * 11, (2, 1, 5, 3), (7, 4)])
@pytest.mark.parametrize("static", [False, True])
@torch.no_grad()
def test_pieces_equal_the_whole(steps, static):
    made = model()
    cache = StaticCache(config=made.config, max_cache_len=16) if static else DynamicCache(config=made.config)
    found = [made(input_ids=one, past_key_values=cache).logits for one in ids().split(steps, dim=1)]
    torch.testing.assert_close(torch.cat(found, dim=1), made(input_ids=ids(), use_cache=False).logits)


@torch.no_grad()
def test_padding_on_either_side_changes_nothing():
    made, text = model(), ids(7)
    wanted, zeros = made(input_ids=text).logits, torch.zeros(2, 3, dtype=torch.long)
    for order, place in ((("pad", "text"), slice(3, None)), (("text", "pad"), slice(7))):
        padded = torch.cat([{"pad": zeros, "text": text}[one] for one in order], dim=1)
        mask = torch.cat([{"pad": zeros, "text": torch.ones_like(text)}[one] for one in order], dim=1)
        found = made(input_ids=padded, attention_mask=mask).logits
        torch.testing.assert_close(found[:, place], wanted)


@torch.no_grad()
def test_time_stands_still_at_padding():
    """Padding after a text leaves the state as it was; only the convolution's window has moved."""
    made, text = model(), ids(7)
    mask = torch.cat((torch.ones_like(text), torch.zeros(2, 3, dtype=torch.long)), dim=1)
    states = []
    for given in ({"input_ids": text}, {"input_ids": torch.nn.functional.pad(text, (0, 3)), "attention_mask": mask}):
        cache = DynamicCache(config=made.config)
        made(**given, past_key_values=cache)
        states.append(cache.layers[0].recurrent_states[0])
    torch.testing.assert_close(states[1], states[0])


@torch.no_grad()
def test_packed_documents_do_not_see_each_other():
    made, text = model(), ids(71, rows=1)
    positions = torch.cat((torch.arange(4), torch.arange(67)))[None]
    found = made(input_ids=text, position_ids=positions, use_cache=False).logits
    wanted = [made(input_ids=one, use_cache=False).logits for one in text.split((4, 67), dim=1)]
    torch.testing.assert_close(found, torch.cat(wanted, dim=1))


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"cache_implementation": "static"}])
def test_generation_equals_that_without_a_cache(how):
    made, text = model(), ids(6).repeat(1, 2)
    plain = {name: value for name, value in how.items() if name == "num_beams"}
    wanted = made.generate(text, **SETTINGS, **plain, use_cache=False)
    assert torch.equal(made.generate(text, **SETTINGS, **how, disable_compile=True), wanted)


def test_what_would_have_to_go_back_is_refused():
    with pytest.raises((ValueError, RuntimeError)):
        model().generate(ids(6, rows=1).repeat(1, 2), **SETTINGS, prompt_lookup_num_tokens=3)


def test_values_before_training_are_those_of_the_paper():
    made = Mamba2ForCausalLM(model().config)
    mixer = made.backbone.layers[0].mixer
    torch.testing.assert_close(mixer.A_log.exp(), torch.arange(1.0, 7.0))
    steps = torch.nn.functional.softplus(mixer.dt_bias)
    assert (steps >= 0.000999).all() and (steps <= 0.1001).all()
    assert (mixer.D == 1).all()
