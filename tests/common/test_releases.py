"""One module knows the releases of transformers; callers see no difference between them."""

import re
from pathlib import Path

import pytest
import torch
import transformers
from transformers import ContinuousBatchingConfig, DynamicCache, GenerationConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from nemo_automodel.components.models.common import releases
from tests.common.tiny import batch, tiny

ROOT = Path(__file__).parents[2]


def dotted(release):
    return ".".join(map(str, release))


def test_the_range_is_the_packages():
    after = releases.NEWEST[0], releases.NEWEST[1] + 1
    wanted = f'"transformers>={dotted(releases.OLDEST)},<{dotted(after)}"'
    assert wanted in (ROOT / "library/needs.py").read_text()
    assert f"transformers=={dotted(releases.NEWEST)}." in (ROOT / "constraints.txt").read_text()
    assert releases.OLDEST <= releases.INSTALLED


@pytest.mark.parametrize("version", ["5.17.0", "5.24.3", "5.25.0.dev0", "6.0.1"])
def test_a_release_that_was_not_tested_is_said_in_one_line(version, caplog):
    releases.warn_if_untested(version)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (releases.release(version) > releases.NEWEST)
    assert all(version in line and "\n" not in line for line in lines)


def test_nothing_else_asks_for_a_version():
    asking = re.compile(r"__version__|importlib\.metadata|is_transformers_version|_greater_or_equal")
    found = [path.name for path in (ROOT / "nemo_automodel").rglob("*.py") if asking.search(path.read_text())]
    assert sorted(found) == ["_alone.py", "registries.py", "releases.py"]  # the others ask for another's


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_a_cache_under_either_name(name):
    model, cache, ids = tiny(), DynamicCache(), torch.arange(3, 23)[None]
    model(ids[:, :12], **{name: cache})
    step = model(ids[:, 12:], **{name: cache})
    assert cache.get_seq_length() == 20 and step[releases.CACHE] is cache
    assert torch.allclose(step.logits, model(ids).logits[:, 12:], atol=2e-5)


def test_one_cache_is_enough():
    with pytest.raises(TypeError, match="give one of them"):
        tiny()(torch.ones(1, 2, dtype=torch.long), past_key_values=DynamicCache(), cache=DynamicCache())


@pytest.mark.parametrize(
    "name", ["past_key_value", "layer_past", "cache_params", "mems", "cache_position", "head_mask"]
)
def test_a_keyword_that_nothing_reads_is_refused(name):
    model = tiny()
    for each in (model, model.model):
        with pytest.raises(TypeError, match=f"reads no {name}"):
            each(**batch(), **{name: torch.ones(1)})
        each(**batch(), **{name: None})


def test_keywords_of_an_attention_function_pass(monkeypatch):
    """Users register functions that have keywords of their own; transformers documents it."""
    seen = []

    def attention(module, q, k, v, mask, *, temperature=1.0, **kwargs):
        seen.append(temperature)
        return ALL_ATTENTION_FUNCTIONS["sdpa"](module, q, k, v, mask, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, "warm", attention)
    model = tiny()
    model.config._attn_implementation = "warm"
    model(batch()["input_ids"], temperature=2.0)
    assert set(seen) == {2.0}


def test_a_model_in_training_generates_as_at_rest():
    """Without gradients nothing is checkpointed, so nothing takes the cache away."""
    model, settings = tiny(), {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    wanted = model.generate(**batch(), **settings)
    model.gradient_checkpointing_enable()
    assert torch.equal(model.train().generate(**batch(), **settings), wanted)


def test_checkpointing_refuses_a_past():
    model, cache, ids = tiny(), DynamicCache(), torch.arange(3, 23)[None]
    model(ids, past_key_values=cache)
    model.train().gradient_checkpointing_enable()
    with pytest.raises(ValueError, match="no cache with a past"):
        model(ids, past_key_values=cache)


def test_continuous_batching():
    """Its cache of pages comes under the name that another one has since 5.24, and brings keywords of its own."""
    model, ids = tiny(attention="sdpa"), torch.arange(3, 13)[None]
    wanted = model.generate(ids, max_new_tokens=4, do_sample=False, use_cache=False)[0, 10:].tolist()
    settings = GenerationConfig(max_new_tokens=4, do_sample=False, eos_token_id=-1)
    small = ContinuousBatchingConfig(num_blocks=8, max_batch_tokens=64)
    (answer,) = model.generate_batch(ids.tolist(), settings, small).values()
    assert answer.generated_tokens == wanted


def test_the_tested_release_is_named_by_its_version():
    assert releases.release(transformers.__version__) == releases.INSTALLED
