"""Which class a folder of images and text leads to, through either entry point."""

import logging

import pytest
import torch
import transformers as T
from safetensors.torch import load_file, save_file

from nemo_automodel import NeMoAutoModelForCausalLM, NeMoAutoModelForImageTextToText
from nemo_automodel._transformers import registry
from nemo_automodel.components.models.llama.model import LlamaForCausalLM
from tests.common.vision import configs, shapes

PLACE = ("tests.common.vision.shapes", "Llava")
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(registry.MODEL_TEXT_MAPPING, "LlavaForConditionalGeneration/llama", PLACE)
    monkeypatch.setitem(registry.MODEL_ARCH_MAPPING, "LlavaForConditionalGeneration", PLACE)


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return T.LlavaForConditionalGeneration(T.LlavaConfig(**configs.LLAVA)).eval()


@pytest.fixture
def folder(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    return tmp_path


def rewritten(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, {"format": "pt"})
    return folder


def test_images_and_text(folder, theirs):
    model = NeMoAutoModelForImageTextToText.from_pretrained(folder)
    assert type(model) is shapes.Llava
    wanted = theirs.state_dict()
    assert model.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())
    assert type(NeMoAutoModelForImageTextToText.from_config(theirs.config)) is shapes.Llava


def test_the_text_half_alone(folder, theirs):
    model = NeMoAutoModelForCausalLM.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(model(IDS).logits, theirs(IDS).logits)


def test_a_text_half_of_its_own(folder, monkeypatch):
    """Though its config is that of another model."""
    half = type("Half", (LlamaForCausalLM,), {})
    monkeypatch.setattr(shapes.Llava, "text_class", half)
    assert type(NeMoAutoModelForCausalLM.from_pretrained(folder)) is half


def test_over_another_text(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("nemo_automodel"), "propagate", True)
    logging.getLogger("nemo_automodel").addHandler(caplog.handler)
    text = {**configs.TEXT, "model_type": "qwen2"}
    config = T.LlavaConfig(**{**configs.LLAVA, "text_config": text})
    model = NeMoAutoModelForImageTextToText.from_config(config)
    logging.getLogger("nemo_automodel").removeHandler(caplog.handler)
    assert type(model) is T.LlavaForConditionalGeneration
    assert "generated over other texts than 'qwen2'" in caplog.text


def test_towers_with_a_front(folder, theirs):
    """As CLIP's published names have one."""
    old, new = "vision_tower.", "vision_tower.vision_model."
    rewritten(folder, lambda disk: {name.replace(old, new): tensor for name, tensor in disk.items()})
    model = NeMoAutoModelForImageTextToText.from_pretrained(folder)
    wanted = theirs.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())
    model.save_pretrained(folder / "again")
    assert not any(new in name for name in load_file(folder / "again" / "model.safetensors"))


@pytest.mark.parametrize("part", ["language_model.model.layers.1", "vision_tower", "multi_modal_projector"])
def test_every_part_is_strict(folder, part):
    def lose(disk):
        lost = next(name for name in sorted(disk) if name.startswith(part))
        return {name: tensor for name, tensor in disk.items() if name != lost} | {f"{part}.extra": torch.ones(1)}

    with pytest.raises(ValueError, match=rf"(?s){part}.*the checkpoint has none.*{part}\.extra: nothing in the model"):
        NeMoAutoModelForImageTextToText.from_pretrained(rewritten(folder, lose))
