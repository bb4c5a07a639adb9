"""Checkpoints of text, tower, projector and head: each under its own prefix, the text's rules below the text alone."""

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, SiglipVisionConfig

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.rules import PackQKV, Rename, Transpose
from nemo_automodel.components.models.common.vision.adapter import ImageTextStateDictAdapter


class Text(StateDictAdapter):
    def rules(self, config):
        return (
            Rename("attn", "self_attn"),
            PackQKV("self_attn", 2, 3),
            Transpose("o_proj"),
        )


class Apart(ImageTextStateDictAdapter):
    """Each part has a prefix of its own on disk."""

    text_adapter = Text
    names = {
        "language_model.model": "model.language_model",
        "language_model.lm_head": "lm_head",
        "vision_tower": "model.vision_tower",
    }
    tower_names = {"norm0": "norm1", "norm1": "norm2"}


class Nested(Apart):
    """The text's prefix is the beginning of another part's, on disk and in memory."""

    names = {"model": "model.language_model", "model.vision": "model.vision_tower"}
    tower_names = {}


def config(vision=None):
    return LlavaConfig(text_config=LlamaConfig(), vision_config=vision or CLIPVisionConfig())


TEXT = "layers.0.self_attn.qkv_proj.weight"
IN_MEMORY = {
    f"model.language_model.{TEXT}": torch.arange(48.0).view(12, 4),
    "model.language_model.layers.0.self_attn.o_proj.weight": torch.arange(12.0).view(3, 4),
    "model.vision_tower.layers.0.self_attn.q_proj.weight": torch.arange(4.0).view(2, 2),
    "model.vision_tower.layers.0.attn.o_proj.weight": torch.arange(6.0).view(2, 3),
    "model.vision_tower.layers.0.norm1.weight": torch.tensor([1.0]),
    "model.vision_tower.layers.0.norm2.weight": torch.tensor([2.0]),
    "lm_head.weight": torch.ones(2, 4),
}


@pytest.mark.parametrize("layout", [Apart, Nested])
def test_both_ways(layout):
    adapter = layout(config(), {"projections": "packed"})
    disk = adapter.to_hf(IN_MEMORY)
    back = adapter.from_hf(disk)
    assert back.keys() == IN_MEMORY.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in IN_MEMORY.items())


def test_names_on_disk():
    disk = Apart(config(), {"projections": "packed"}).to_hf(IN_MEMORY)
    assert set(disk) == {
        "language_model.model.layers.0.attn.q_proj.weight",
        "language_model.model.layers.0.attn.k_proj.weight",
        "language_model.model.layers.0.attn.v_proj.weight",
        "language_model.model.layers.0.attn.o_proj.weight",
        "language_model.lm_head.weight",
        "vision_tower.layers.0.self_attn.q_proj.weight",
        "vision_tower.layers.0.attn.o_proj.weight",
        "vision_tower.layers.0.norm0.weight",
        "vision_tower.layers.0.norm1.weight",
    }
    assert disk["language_model.model.layers.0.attn.o_proj.weight"].shape == (4, 3)
    assert disk["vision_tower.layers.0.attn.o_proj.weight"].shape == (2, 3)
    assert disk["vision_tower.layers.0.norm0.weight"] == 1
    nested = Nested(config(), {"projections": "packed"}).to_hf(IN_MEMORY)
    assert "model.layers.0.attn.q_proj.weight" in nested
    assert "model.vision.layers.0.attn.o_proj.weight" in nested


@pytest.mark.parametrize("layout", [Apart, Nested])
def test_names_of_memory_pass(layout):
    """A state dict that is in memory's names already, as the Trainer's is."""
    adapter = layout(config(), {"projections": "packed"})
    shapes = {name: tensor.shape for name, tensor in IN_MEMORY.items()}
    plain = {name: tensor for name, tensor in IN_MEMORY.items() if "norm" not in name}
    assert adapter.from_hf(plain, shapes).keys() == plain.keys()


def test_names_of_the_base_model_alone():
    adapter = Apart(config(), {"projections": "packed"})
    packed = IN_MEMORY[f"model.language_model.{TEXT}"]
    assert len(adapter.convert_single_tensor_to_hf(f"language_model.{TEXT}", packed)) == 3
    assert len(adapter.convert_single_tensor_to_hf(f"vision_tower.{TEXT}", packed)) == 1


@pytest.mark.parametrize("vision", [CLIPVisionConfig(), SiglipVisionConfig()])
def test_towers_with_a_front(vision):
    """Read, and written without."""
    adapter = Apart(config(vision))
    found = adapter.from_hf({"vision_tower.vision_model.layers.0.q.weight": torch.ones(1)})
    assert set(found) == {"model.vision_tower.layers.0.q.weight"}
    assert set(adapter.to_hf(found)) == {"vision_tower.layers.0.q.weight"}
