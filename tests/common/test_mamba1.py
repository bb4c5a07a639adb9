"""The state space mixer of Mamba: caches, padding, packed documents, and what the language has of it."""

import pytest
import torch
from transformers import FalconMambaConfig, MambaConfig

from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.falcon_mamba.model import FalconMambaForCausalLM
from nemo_automodel.components.models.mamba.model import MambaForCausalLM
from tests.common.states import RecurrentTests


def model(backend=None, config_class=MambaConfig, model_class=MambaForCausalLM, **fields):
    torch.manual_seed(1)
    config = config_class(
        **{"vocab_size": 61, "hidden_size": 24, "state_size": 5, "time_step_rank": 4, "num_hidden_layers": 3},
        **{"pad_token_id": 0, "eos_token_id": None, "residual_in_fp32": False, **fields},
    )
    made = model_class(config, BackendConfig.of(backend)).eval()
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, std=1.0 if "A_log" in name or "dt_proj" in name else 0.3)
    return made


class TestMamba1(RecurrentTests):
    sums = "scan"
    attends = False
    model = staticmethod(model)


class TestInnerNorms(RecurrentTests):
    sums = "scan"
    attends = False

    @staticmethod
    def model(backend=None, **fields):
        return model(backend, FalconMambaConfig, FalconMambaForCausalLM, **fields)


@pytest.mark.parametrize("scheme", ["random", "constant"])
def test_values_before_training_are_those_of_the_paper(scheme):
    made = MambaForCausalLM(model(time_step_init_scheme=scheme, time_step_scale=0.5).config)
    mixer = made.backbone.layers[0].mixer
    torch.testing.assert_close(mixer.A_log.exp(), torch.arange(1.0, 6.0).expand(48, 5))
    steps = torch.nn.functional.softplus(mixer.dt_proj.bias)
    assert (steps >= 0.000999).all() and (steps <= 0.1001).all()
    sizes = mixer.dt_proj.weight.abs()
    assert (sizes <= 0.2501).all() and sizes.max() > 0.24
    assert torch.equal(mixer.dt_proj.weight, torch.full_like(sizes, 0.25)) == (scheme == "constant")
    assert (mixer.D == 1).all()


@pytest.mark.parametrize(("shrinks", "bound"), [(False, 48**-0.5), (True, 144**-0.5)])
def test_ways_start_by_how_many_numbers_they_sum(shrinks, bound):
    mixer = MambaForCausalLM(model(rescale_prenorm_residual=shrinks).config).backbone.layers[1].mixer
    assert 0.95 * bound < mixer.out_proj.weight.abs().max() <= bound
    assert 0.45 < mixer.conv1d.weight.abs().max() <= 0.5
    assert (mixer.conv1d.bias == 0).all()
