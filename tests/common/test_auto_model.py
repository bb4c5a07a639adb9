"""Which class the entry points choose, and what they refuse."""

import json
import re

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.quantizers import HfQuantizer, register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from nemo_automodel import NeMoAutoModelForCausalLM, NeMoAutoModelForImageTextToText
from nemo_automodel._transformers import lookup, registry
from tests.common.tiny import TinyConfig, TinyForCausalLM, batch, tiny


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    place = ("tests.common.tiny", "TinyForCausalLM")
    monkeypatch.setitem(registry.MODEL_ARCH_MAPPING, "TinyForCausalLM", place)
    monkeypatch.setitem(registry._CUSTOM_CONFIG_REGISTRATIONS, TinyConfig.model_type, (place[0], "TinyConfig"))


@pytest.fixture
def folder(tmp_path):
    tiny().save_pretrained(tmp_path)
    return tmp_path


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_options_reach_the_model(folder):
    model = NeMoAutoModelForCausalLM.from_pretrained(
        folder, dtype="bfloat16", attn_implementation="eager", backend={"projections": "packed"}, use_cache=False
    )
    assert type(model) is TinyForCausalLM
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"
    assert model.backend.projections == "packed"
    assert model.config.use_cache is False


def test_config_fields_are_overridden_by_name(folder):
    model = NeMoAutoModelForCausalLM.from_pretrained(folder, softcap=0.5, windows=[3, None])
    assert model.model.blocks[0].self_attn.softcap == 0.5
    assert model.model.blocks[0].mask_kind == "sliding_attention"
    with pytest.raises(TypeError, match="sofcap"):
        NeMoAutoModelForCausalLM.from_pretrained(folder, sofcap=0.5)


def test_loading_info_is_given_where_asked(folder):
    _, info = NeMoAutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]


@pytest.mark.parametrize("architectures", [None, [], ["SomethingElse", "TinyForCausalLM"]])
def test_architectures_may_be_absent_or_several(folder, architectures):
    if architectures:
        edit_config(folder, architectures=architectures)
        assert type(NeMoAutoModelForCausalLM.from_pretrained(folder)) is TinyForCausalLM
    config = TinyConfig(architectures=architectures)
    assert type(NeMoAutoModelForCausalLM.from_config(config)) is TinyForCausalLM


def test_a_config_class_of_ours_goes_before_an_architecture_that_it_shares(folder):
    edit_config(folder, architectures=["LlamaForCausalLM"])
    model = NeMoAutoModelForCausalLM.from_pretrained(folder)
    assert type(model) is TinyForCausalLM
    model.save_pretrained(folder / "again")
    assert json.loads((folder / "again/config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert type(NeMoAutoModelForCausalLM.from_pretrained(folder / "again")) is TinyForCausalLM


def test_from_config_takes_a_path_and_overrides(folder):
    model = NeMoAutoModelForCausalLM.from_config(folder, num_hidden_layers=1)
    assert type(model) is TinyForCausalLM
    assert len(model.model.blocks) == 1


def test_a_broken_entry_raises(folder, monkeypatch):
    monkeypatch.setitem(registry.MODEL_ARCH_MAPPING, "TinyForCausalLM", ("tests.common.no_such_module", "Tiny"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        NeMoAutoModelForCausalLM.from_pretrained(folder)


def test_modules_are_imported_when_they_are_needed():
    assert lookup.resolve("NoSuchForCausalLM") is None
    assert lookup.resolve("TinyForCausalLM") is TinyForCausalLM


def test_a_text_model_is_no_vision_language_model(folder):
    edit_config(folder, architectures=["NoSuchForCausalLM"], model_type="llama")
    with pytest.raises(ValueError, match="AutoModelForImageTextToText"):
        NeMoAutoModelForImageTextToText.from_pretrained(folder)


@pytest.mark.parametrize("backend", [None, {"projections": "auto"}, {"projections": "split"}])
def test_adapters_attach_to_hugging_face_names(folder, backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # auto would pack
    lora = LoraConfig(target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    model = NeMoAutoModelForCausalLM.from_pretrained(folder, backend=backend, peft_config=lora)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("blocks.1.self_attn.q_proj.lora_A" in name for name in names)
    inputs = batch()
    model.train()(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    merged = model.eval()(**inputs).logits
    assert torch.allclose(model.merge_and_unload()(**inputs).logits, merged, atol=1e-4)


def test_adapters_on_packed_projections_take_them_apart(folder):
    lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = NeMoAutoModelForCausalLM.from_pretrained(folder, backend={"projections": "packed"}, peft_config=lora)
    assert "base_model.model.model.blocks.1.self_attn.q_proj.lora_A.default.weight" in dict(model.named_parameters())


def test_a_folder_of_an_adapter_gives_base_and_adapter(folder, tmp_path):
    lora = LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    made = NeMoAutoModelForCausalLM.from_pretrained(folder, peft_config=lora)
    adapter = tmp_path / "adapter"
    made.save_pretrained(adapter)
    loaded = NeMoAutoModelForCausalLM.from_pretrained(adapter, backend={"projections": "packed"})
    torch.testing.assert_close(loaded(**batch()).logits, made.eval()(**batch()).logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="holds an adapter already"):
        NeMoAutoModelForCausalLM.from_pretrained(adapter, peft_config=lora)
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": None}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="names no base_model_name_or_path"):
        NeMoAutoModelForCausalLM.from_pretrained(adapter)


def test_a_packed_model_can_be_split_for_adapters():
    model, inputs = tiny("packed"), batch()
    expected = model(**inputs).logits
    model.split_projections()
    assert torch.allclose(model(**inputs).logits, expected, atol=1e-5)
    assert model.backend.projections == model.model.backend.projections == "split"
    assert set(model.state_dict()) == set(tiny("split").state_dict())
    packed = tiny("packed")
    get_peft_model(packed, LoraConfig(target_modules=["q_proj", "gate_proj"]))
    assert any("q_proj.lora_A" in name for name in packed.state_dict())


def test_an_adapter_is_added_to_a_packed_model_or_transformers_refuses_its_peft():
    """5.24 asks for a peft newer than all that are released, on its own classes too."""
    lora, packed, split = LoraConfig(target_modules=["q_proj"]), tiny("packed"), tiny("split")
    theirs = LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=8, num_hidden_layers=1, vocab_size=8))
    try:
        theirs.add_adapter(lora)
    except ValueError as refusal:
        with pytest.raises(ValueError, match=re.escape(str(refusal))):
            packed.add_adapter(lora)
        return
    packed.add_adapter(lora)
    split.add_adapter(lora)
    assert set(packed.state_dict()) == set(split.state_dict())


@register_quantization_config("counting")
class CountingConfig(QuantizationConfigMixin):
    def __init__(self, **kwargs):
        self.quant_method = "counting"


@register_quantizer("counting")
class CountingQuantizer(HfQuantizer):
    """Notes the linear layers, as quantisers that replace them find them."""

    requires_calibration = False
    is_trainable = True

    def _process_model_before_weight_loading(self, model, **kwargs):
        model.found = {name for name, module in model.named_modules() if type(module) is torch.nn.Linear}

    def is_serializable(self):
        return True


def test_quantisers_see_every_linear_layer_or_are_refused(folder):
    """In packed projections they would find nothing to quantise, and leave these as they are without a word."""
    model = NeMoAutoModelForCausalLM.from_pretrained(folder, quantization_config=CountingConfig())
    assert {"q_proj", "gate_proj", "down_proj"} <= {name.rpartition(".")[2] for name in model.found}
    refusal = "leave packed projections unquantised; use 'split'"
    with pytest.raises(ValueError, match=refusal):
        NeMoAutoModelForCausalLM.from_pretrained(
            folder, backend={"projections": "packed"}, quantization_config=CountingConfig()
        )
    edit_config(folder, quantization_config={"quant_method": "counting"})
    with pytest.raises(ValueError, match=refusal):
        NeMoAutoModelForCausalLM.from_pretrained(folder, backend={"projections": "packed"})
