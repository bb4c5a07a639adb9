"""Mixers by the gated delta rule: what caches hold of them, padding, packed documents, generation."""

from pathlib import Path

import torch
from transformers import DynamicCache, Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextForCausalLM as Theirs

from codegen.configs import table
from codegen.language.check import read_spec
from codegen.language.loaded import config_class
from codegen.plan.model import build
from codegen.render.files import model_files
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.components.models.common.gated_delta_net import blocks, start_by_channel, start_by_head
from nemo_automodel.parity.sandbox import installed
from nemo_automodel.testing.asserting import close
from tests.common.states import RecurrentTests, ids

ROOT = Path(__file__).parents[2]


def generated():
    """The class of a family whose spec waits."""
    spec = read_spec(ROOT / "specs/qwen3_next.yaml", ROOT)
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


class TestGatedDeltaNet(RecurrentTests):
    sums = "delta_rule"
    model = staticmethod(model)
    equal = staticmethod(close)


@torch.no_grad()
def test_a_cache_that_was_emptied_starts_from_nothing():
    made = model()
    cache = DynamicCache(config=made.config)
    for _ in range(2):
        found = made(input_ids=ids(), past_key_values=cache).logits
        close(found, made(input_ids=ids(), use_cache=False).logits)
        cache.reset()
        cache.layers[1] = type(cache.layers[1])()


def test_it_starts_as_the_reference():
    """Number by number, from the same seed."""
    reference = Theirs(config())
    theirs = type(reference.model.layers[0].linear_attn)(config(), 0)
    ours = {name: torch.empty_like(getattr(theirs, name)) for name in ("A_log", "dt_bias")}
    torch.manual_seed(3)
    reference._init_weights(theirs)
    torch.manual_seed(3)
    start_by_head(*ours.values())
    assert all(torch.equal(mine, getattr(theirs, name)) for name, mine in ours.items())


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
