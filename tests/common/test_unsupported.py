"""Configs that transformers' classes follow and generated models do not are refused, and not misread."""

import pytest
import transformers as T

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.components.models.common.unsupported import UnsupportedConfigError, refuse_both_ways

SMALL = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "head_dim": 8}
SMALL |= {"num_attention_heads": 2, "num_key_value_heads": 1}


@pytest.mark.parametrize("make", [T.Gemma3TextConfig, T.GemmaConfig])
def test_attention_to_later_tokens_is_refused(make):
    with pytest.raises(ValueError, match="config.use_bidirectional_attention is True: here tokens see those before"):
        NeMoAutoModelForCausalLM.from_config(make(**SMALL, use_bidirectional_attention=True))
    assert NeMoAutoModelForCausalLM.from_config(make(**SMALL, use_bidirectional_attention=False)) is not None


def test_so_is_the_field_that_every_class_of_transformers_follows():
    config = T.LlamaConfig(**SMALL)
    refuse_both_ways(config)
    config.is_causal = False
    with pytest.raises(UnsupportedConfigError, match="config.is_causal is False"):
        refuse_both_ways(config)
