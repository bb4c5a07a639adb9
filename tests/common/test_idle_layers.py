"""Layers that mix no tokens, between those that do and before all of them: caches count what the others have seen."""

import pytest
import torch
from transformers import DynamicCache, NemotronHConfig, StaticCache

from nemo_automodel.components.models.nemotron_v3.model import NemotronHForCausalLM
from tests.common.states import SETTINGS, ids

ORDERS = (["mlp", "full_attention", "moe", "linear_attention"], ["moe", "linear_attention", "mlp", "full_attention"])
WITHOUT_STATES = ["mlp", "full_attention", "moe"]


def model(layers):
    torch.manual_seed(1)
    config = NemotronHConfig(
        **{"vocab_size": 61, "hidden_size": 24, "intermediate_size": 20, "layers_block_type": layers},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6, "pad_token_id": 0, "eos_token_id": None},
        **{"mamba_num_heads": 6, "mamba_head_dim": 8, "n_groups": 2, "ssm_state_size": 5, "moe_latent_size": 8},
        **{"n_routed_experts": 4, "moe_intermediate_size": 16, "moe_shared_expert_intermediate_size": 12},
    )
    made = NemotronHForCausalLM(config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.mark.parametrize("layers", [*ORDERS, WITHOUT_STATES])
@pytest.mark.parametrize("kind", ["own", "of the config", "empty", "static"])
@torch.no_grad()
def test_pieces_of_a_padded_batch_equal_the_whole(layers, kind):
    made, text = model(layers), torch.nn.functional.pad(ids(9), (3, 0))
    mask = (text != 0).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = {
        "own": None,
        "of the config": DynamicCache(config=made.config),
        "empty": DynamicCache(),
        "static": StaticCache(config=made.config, max_cache_len=16),
    }[kind]
    whole = made(input_ids=text, attention_mask=mask, position_ids=positions, use_cache=False).logits
    for start, end in ((0, 7), (7, 8), (8, 9), (9, 12)):
        out = made(
            input_ids=text[:, start:end],
            attention_mask=mask[:, :end],
            position_ids=positions[:, start:end],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values if "past_key_values" in out else out.cache
        real = mask[:, start:end].bool()
        torch.testing.assert_close(out.logits[real], whole[:, start:end][real])


@pytest.mark.parametrize("layers", [*ORDERS, WITHOUT_STATES])
@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_generation_equals_that_without_a_cache(layers, how):
    made, text = model(layers), torch.nn.functional.pad(ids(6), (2, 0))
    given = {"attention_mask": (text != 0).long(), **SETTINGS}
    plain = {name: value for name, value in how.items() if name == "num_beams"}
    wanted = made.generate(text, **given, **plain, use_cache=False)
    assert torch.equal(made.generate(text, **given, **how, disable_compile=True), wanted)
