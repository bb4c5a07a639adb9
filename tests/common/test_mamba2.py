"""The state space mixer of Mamba-2: caches, padding, packed documents, and what the language has of it."""

import torch
from transformers import DynamicCache, Mamba2Config

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.mamba2.model import Mamba2ForCausalLM
from tests.common.states import RecurrentTests, ids


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


class TestMamba2(RecurrentTests):
    sums = "scan"
    attends = False
    model = staticmethod(model)


def test_steps_are_bounded_from_a_cache_too():
    made = model(time_step_limit=[0.5, 0.7])
    cache = DynamicCache(config=made.config)
    with torch.no_grad():
        found = [made(input_ids=one, past_key_values=cache).logits for one in ids().split(1, dim=1)]
        torch.testing.assert_close(torch.cat(found, dim=1), made(input_ids=ids(), use_cache=False).logits)
        assert not torch.equal(found[-1], model()(input_ids=ids()).logits[:, -1:])


def test_values_before_training_are_those_of_the_paper():
    made = Mamba2ForCausalLM(model().config)
    mixer = made.backbone.layers[0].mixer
    torch.testing.assert_close(mixer.A_log.exp(), torch.arange(1.0, 7.0))
    steps = torch.nn.functional.softplus(mixer.dt_bias)
    assert (steps >= 0.000999).all() and (steps <= 0.1001).all()
    assert (mixer.D == 1).all()
