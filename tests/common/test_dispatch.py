"""Which class a config leads to, where its fields contradict one another, and what live models' configs bring along."""

import json
import logging

import pytest
import torch
import transformers as T

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel._transformers import registry
from nemo_automodel._transformers.dispatch import choose
from tests.common.outer_folders import TEXT

EXPERTS = {"head_dim": 8, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}


@pytest.fixture
def said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("nemo_automodel"), "propagate", True)
    logging.getLogger("nemo_automodel").addHandler(caplog.handler)
    yield lambda: caplog.text
    logging.getLogger("nemo_automodel").removeHandler(caplog.handler)


def family(model):
    return type(model).__module__.split(".")[-2]


def test_the_model_type_decides_and_a_contradiction_is_said(said, tmp_path):
    T.Qwen2ForCausalLM(T.Qwen2Config(**TEXT)).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": ["LlamaForCausalLM"]}))
    assert family(NeMoAutoModelForCausalLM.from_pretrained(tmp_path)) == "qwen2"
    assert "architectures ['LlamaForCausalLM'] and model_type 'qwen2': the type decides" in said()


def test_architectures_without_a_generated_class_of_the_type_do_not_decide():
    config = T.DiffLlamaConfig(**TEXT, architectures=["LlamaForCausalLM"])
    assert type(NeMoAutoModelForCausalLM.from_config(config)) is T.DiffLlamaForCausalLM


class LentConfig(T.PreTrainedConfig):
    model_type = "lent"


@pytest.mark.parametrize("named", [None, ["LlamaForCausalLM"], ["LentForCausalLM"]])
def test_a_type_comes_before_the_model_that_another_family_lends(named, monkeypatch):
    """transformers names Llama for types with other names on disk: not ours, unless a spec has the type."""
    config, usual = LentConfig(architectures=named), {"lent": "LlamaForCausalLM", "llama": "LlamaForCausalLM"}
    assert choose(config, usual) == (None, config)
    place = ("nemo_automodel.components.models.qwen2.model", "Qwen2ForCausalLM")
    monkeypatch.setitem(registry.MODEL_TYPE_MAPPING, "lent", place)
    assert choose(config, usual)[0].__name__ == "Qwen2ForCausalLM"


def test_other_heads_of_a_type_are_no_contradiction(said):
    config = T.LlamaConfig(**TEXT, architectures=["LlamaForSequenceClassification"])
    assert family(NeMoAutoModelForCausalLM.from_config(config)) == "llama"
    assert "the type decides" not in said()


def test_a_type_that_transformers_maps_to_no_language_model():
    config = T.Mistral4Config(**TEXT | {"num_key_value_heads": 4}, qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=8)
    with torch.device("meta"):
        assert family(NeMoAutoModelForCausalLM.from_config(config)) == "mistral4"


def test_configs_of_live_models(tmp_path):
    """They carry an implementation of experts that transformers chose for its own class."""
    theirs = T.Qwen3MoeForCausalLM(T.Qwen3MoeConfig(**TEXT, **EXPERTS))
    assert theirs.config._experts_implementation == "grouped_mm"
    theirs.save_pretrained(tmp_path)
    built = NeMoAutoModelForCausalLM.from_config(theirs.config)
    loaded = NeMoAutoModelForCausalLM.from_pretrained(tmp_path, config=theirs.config)
    for model in (built, loaded):
        assert family(model) == "qwen3_moe" and model.backend.experts == "auto"


@pytest.mark.parametrize("given", ["eager", "grouped_mm", "batched_mm", {"": "grouped_mm"}, {"text_config": "eager"}])
def test_experts_by_transformers_names(given, tmp_path):
    name = given if isinstance(given, str) else next(iter(given.values()))
    wanted = {"eager": "loop", "grouped_mm": "grouped_mm", "batched_mm": "torch"}[name]
    theirs = T.Qwen3MoeForCausalLM(T.Qwen3MoeConfig(**TEXT, **EXPERTS)).eval()
    theirs.save_pretrained(tmp_path)
    model = NeMoAutoModelForCausalLM.from_pretrained(tmp_path, experts_implementation=given)
    assert model.backend.experts == model.model.backend.experts == wanted
    ids = torch.arange(3, 15)[None]
    assert torch.allclose(model(input_ids=ids).logits, theirs(input_ids=ids).logits, atol=1e-5)
    built = NeMoAutoModelForCausalLM.from_config(theirs.config, experts_implementation=given)
    assert built.backend.experts == wanted
    assert type(model).from_pretrained(tmp_path, experts_implementation=given).backend.experts == wanted


def test_experts_that_have_no_counterpart():
    config = T.Qwen3MoeConfig(**TEXT, **EXPERTS)
    with pytest.raises(ValueError, match="'sonicmoe' is not one of eager, grouped_mm, batched_mm"):
        NeMoAutoModelForCausalLM.from_config(config, experts_implementation="sonicmoe")
    with pytest.raises(ValueError, match="the backend says otherwise"):
        NeMoAutoModelForCausalLM.from_config(config, experts_implementation="eager", backend={"experts": "grouped_mm"})


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", torch.float16])
def test_the_older_name_of_dtype(dtype, tmp_path):
    T.LlamaForCausalLM(T.LlamaConfig(**TEXT)).to(torch.bfloat16).save_pretrained(tmp_path)
    right = T.LlamaForCausalLM.from_pretrained(tmp_path, torch_dtype=dtype).dtype
    model = NeMoAutoModelForCausalLM.from_pretrained(tmp_path, torch_dtype=dtype)
    assert model.dtype == type(model).from_pretrained(tmp_path, torch_dtype=dtype).dtype == right
    assert type(model).from_pretrained(tmp_path, torch_dtype=dtype, dtype="float32").dtype == torch.float32
