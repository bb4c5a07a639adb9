"""Checkpoints of packed, fused and transposed storage: disk names and layouts, refused losses, fresh weights."""

import copy
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel._transformers import registry
from tests.common.tiny import TinyConfig, TinyForCausalLM, batch, tiny

FORMS = [{}, {"fused": True}, {"tie_word_embeddings": True}]
BACKENDS = ["split", "packed"]


def disk_names(fused=False, tie_word_embeddings=False):
    own = ["qkv", "gate_up"] if fused else ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"]
    kept = [*own, "o_proj", "down_proj", "input_layernorm", "post_attention_layernorm"]
    inner = {f"{'mlp' if name.startswith(('gate', 'up', 'down')) else 'self_attn'}.{name}" for name in kept[:-2]}
    inner |= set(kept[-2:])
    names = {f"model.blocks.{i}.{name}.weight" for i in (0, 1) for name in inner}
    head = set() if tie_word_embeddings else {"lm_head.weight"}
    return names | {"model.embed_tokens.weight", "model.norm.weight"} | head


def load(path, projections, **kwargs):
    return TinyForCausalLM.from_pretrained(
        path, attn_implementation="eager", backend={"projections": projections}, **kwargs
    ).eval()


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    place = ("tests.common.tiny", "TinyForCausalLM")
    monkeypatch.setitem(registry.MODEL_ARCH_MAPPING, "TinyForCausalLM", place)
    monkeypatch.setitem(registry._CUSTOM_CONFIG_REGISTRATIONS, TinyConfig.model_type, (place[0], "TinyConfig"))


@pytest.mark.parametrize("shards", ["one file", "sharded"])
@pytest.mark.parametrize("form", FORMS)
def test_saved_from_scratch_by_either_backend_and_loaded_by_both(form, shards, tmp_path):
    inputs, expected = batch(), None
    size = "10KB" if shards == "sharded" else "5GB"
    for writer in BACKENDS:
        model = tiny("split", **form)
        if writer == "packed":
            other = tiny("packed", seed=5, **form)
            other.load_state_dict(model.state_dict_adapter.to_hf(model.state_dict()), strict=False)
            other.tie_weights()
            model = other
        model.save_pretrained(tmp_path / writer, max_shard_size=size)
        files = sorted((tmp_path / writer).glob("*.safetensors"))
        assert (len(files) > 1) == (shards == "sharded")
        stored = {name: t for file in files for name, t in load_file(file).items()}
        assert set(stored) == disk_names(**form)
        if expected is None:
            expected = stored
        assert all(torch.equal(stored[name], t) for name, t in expected.items())
    logits = [load(tmp_path / writer, reader)(**inputs).logits for writer in BACKENDS for reader in BACKENDS]
    assert all(torch.allclose(logits[0], other, atol=1e-5) for other in logits[1:])
    assert not torch.allclose(logits[0], tiny("split", seed=5, **form)(**inputs).logits, atol=1e-2)


def test_transposed_weights_lie_turned_on_disk(tmp_path):
    model = tiny("split", fused=True)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(stored["model.blocks.0.self_attn.qkv.weight"].t(), model.model.blocks[0].self_attn.qkv.weight)
    assert torch.equal(stored["model.blocks.0.mlp.gate_up.weight"], model.model.blocks[0].mlp.gate_up.weight)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_load_state_dict_takes_names_of_disk_and_of_memory(form, backend):
    source, inputs = tiny(backend, **form), batch()
    memory = source.state_dict()
    disk = source.state_dict_adapter.to_hf(memory)
    assert set(disk) == disk_names(**form)
    for state_dict, strict in ((memory, True), ({k: v.clone() for k, v in memory.items()}, True), (disk, False)):
        target = tiny(backend, seed=3, **form)
        result = target.load_state_dict(state_dict, strict=strict)
        assert not result.unexpected_keys
        assert set(result.missing_keys) <= set(target.all_tied_weights_keys)
        assert torch.equal(target(**inputs).logits, source(**inputs).logits)


@pytest.mark.parametrize("backend", BACKENDS)
def test_missing_part_is_named(backend, tmp_path):
    tiny("split").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    stored = load_file(file)
    stored["model.blocks.1.self_attn.k_pro.weight"] = stored.pop("model.blocks.1.self_attn.k_proj.weight")
    save_file(stored, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"blocks\.1\.self_attn\.(.|\n)*k_proj") as caught:
        NeMoAutoModelForCausalLM.from_pretrained(tmp_path, backend={"projections": backend})
    if backend == "split":
        assert "the nearest is model.blocks.1.self_attn.k_pro.weight" in str(caught.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unexpected_and_misshapen_tensors_are_named(backend, tmp_path):
    tiny("split").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    stored = load_file(file)
    save_file({**stored, "model.blocks.0.extra.weight": torch.zeros(2)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match="extra.weight: nothing in the model uses it"):
        NeMoAutoModelForCausalLM.from_pretrained(tmp_path, backend={"projections": backend})
    save_file({**stored, "model.norm.weight": torch.zeros(2)}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"model.norm.weight: on disk .*2.*, in the model .*32"):
        NeMoAutoModelForCausalLM.from_pretrained(tmp_path, backend={"projections": backend})


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_missing_weights_are_initialised_by_the_class(backend, tmp_path):
    tiny("split").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    gone = ("model.blocks.0.post_attention_layernorm.weight", "model.blocks.0.input_layernorm.weight", "lm_head.weight")
    save_file({k: v for k, v in load_file(file).items() if k not in gone}, file, {"format": "pt"})
    model = load(tmp_path, backend)
    assert (model.model.blocks[0].post_attention_layernorm.weight == 0).all()
    assert (model.model.blocks[0].input_layernorm.weight == 1).all()
    assert 0.1 < model.lm_head.weight.std() < 0.3
    assert not (model.model.blocks[1].post_attention_layernorm.weight == 0).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_meta_then_to_empty_then_adapter(backend):
    source, inputs = tiny("split"), batch()
    with torch.device("meta"):
        model = TinyForCausalLM(copy.deepcopy(source.config), {"projections": backend})
    model.config._attn_implementation = "eager"
    model = model.to_empty(device="cpu").eval()
    model.load_state_dict(model.state_dict_adapter.from_hf(source.state_dict()))
    assert torch.allclose(model(**inputs).logits, source(**inputs).logits, atol=1e-5)


def test_fresh_weights_start_where_they_should():
    model = TinyForCausalLM._from_config(TinyConfig())
    assert (model.model.blocks[0].post_attention_layernorm.weight == 0).all()
    assert (model.model.embed_tokens.weight[0] == 0).all()
    assert 0.15 < model.lm_head.weight.std() < 0.25


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtype_is_the_loaders(dtype, tmp_path):
    tiny("split").save_pretrained(tmp_path)
    for backend in BACKENDS:
        model = load(tmp_path, backend, dtype=dtype)
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert torch.isfinite(model(**batch()).logits).all()


def test_plans_of_tensor_parallelism_speak_the_names_of_memory():
    plans = {backend: tiny(backend).model._tp_plan for backend in BACKENDS}
    assert "layers.*.self_attn.q_proj" in str(plans["split"])
    assert "layers.*.self_attn.qkv_proj" in str(plans["packed"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_resize_tie_and_untie(backend, tmp_path):
    model, inputs = tiny(backend, tie_word_embeddings=True), batch()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.resize_token_embeddings(70)
    assert model(**inputs).logits.shape[-1] == model.config.vocab_size == 70
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    untied = load(tmp_path, backend, tie_word_embeddings=False)
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


def test_adapter_can_be_turned_off():
    model = TinyForCausalLM(TinyConfig(), {"projections": "packed", "enable_hf_state_dict_adapter": False})
    assert model.state_dict_adapter is None
    model.load_state_dict(model.state_dict())


def test_a_checkpointer_takes_over_the_weights(tmp_path):
    calls = []
    writer = type("Writer", (), {"save_model": lambda self, **kw: calls.append(kw)})()
    model = tiny()
    model.save_pretrained(tmp_path, checkpointer=writer)
    assert calls == [{"model": model, "weights_path": tmp_path}]


@pytest.mark.parametrize("backend", BACKENDS)
def test_pickles_and_copies(backend):
    model, inputs = tiny(backend, windows=[6, None]), batch()
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(other(**inputs).logits, model(**inputs).logits)


def test_unregistered_architectures_fall_back_to_transformers(tmp_path, monkeypatch):
    from transformers import LlamaConfig

    monkeypatch.delitem(registry.MODEL_ARCH_MAPPING, "LlamaForCausalLM", raising=False)
    monkeypatch.delitem(registry.MODEL_TYPE_MAPPING, "llama", raising=False)
    config = LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    model = NeMoAutoModelForCausalLM.from_config(config)
    assert type(model).__module__.startswith("transformers.")
    model.save_pretrained(tmp_path)
    assert type(NeMoAutoModelForCausalLM.from_pretrained(tmp_path)) is type(AutoModelForCausalLM.from_config(config))
    with pytest.raises(ValueError, match="backend is for generated models"):
        NeMoAutoModelForCausalLM.from_config(config, backend={"projections": "split"})
