"""Generation across the length at which a rotary table switches: the tokens are those without a cache."""

import pytest
import torch
from transformers import DynamicCache

from tests.common.tiny import batch, tiny

FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [1.5, 3.0, 4.0, 8.0, 9.0, 9.5]}
ROPES = {
    "longrope": {"rope_type": "longrope", "original_max_position_embeddings": 24, "factor": 2.0, **FACTORS},
    "dynamic": {"rope_type": "dynamic", "factor": 2.5},
}


def switching(kind, **fields):
    model = tiny(rope={"rope_theta": 37.0, **ROPES[kind]}, max_position_embeddings=24, **fields)
    model.generation_config.eos_token_id = None
    return model


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("options", [{}, {"cache_implementation": "static"}, {"num_beams": 2}], ids=str)
@pytest.mark.parametrize("fields", [{}, {"windows": [6, None]}], ids=["plain", "window"])
def test_cached_generation_equals_uncached(kind, options, fields):
    """One text is padded, so that it gets there with the longer one: tables are the batch's."""
    model, settings = switching(kind, **fields), {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}
    wanted = model.generate(**batch(), use_cache=False, **settings, num_beams=options.get("num_beams", 1))
    assert torch.equal(model.generate(**batch(), **settings, **options), wanted)


def test_lengths_count_tokens_not_padding():
    """Where every text is padded the switch comes later than the batch is long."""
    model, settings = switching("longrope"), {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}
    inputs = {name: torch.nn.functional.pad(value, (6, 0)) for name, value in batch().items()}
    wanted = model.generate(**inputs, use_cache=False, **settings)
    assert torch.equal(model.generate(**inputs, **settings), wanted)


@pytest.mark.parametrize("kind", ROPES)
def test_a_forward_pass_refuses_a_stale_cache(kind):
    model, cache, ids = switching(kind), DynamicCache(), torch.arange(3, 33)[None]
    model(ids[:, :20], past_key_values=cache)
    model(ids[:, 20:24], past_key_values=cache)
    with pytest.raises(ValueError, match="position 24 gives all others another rotary table"):
        model(ids[:, 24:25], past_key_values=cache)


def test_what_cannot_begin_anew_says_so():
    model, settings = switching("longrope"), {"max_new_tokens": 9, "do_sample": False, "pad_token_id": 0}
    embeds = model.get_input_embeddings()(batch()["input_ids"])
    with pytest.raises(ValueError, match="give input_ids"):
        model.generate(inputs_embeds=embeds, **settings)
    with pytest.raises(ValueError, match="OtherCache cannot begin anew"):
        model.generate(**batch(), past_key_values=OtherCache(), **settings)


class OtherCache(DynamicCache):
    """A cache that is not known."""
