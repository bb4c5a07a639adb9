"""Config classes around a text and a tower, and towers of another family's class."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, PreTrainedConfig, SiglipVisionConfig

from nemo_automodel._transformers.dispatch import choose
from nemo_automodel.components.models.common.vision.config import ImageTextConfig
from nemo_automodel.components.models.common.vision.tower import build_tower
from nemo_automodel.components.models.kimivl.config import KimiVLConfig
from nemo_automodel.components.models.kimivl.model import KimiVLForConditionalGeneration


class Eye(PreTrainedConfig):
    model_type = "eye"
    base_config_key = "vision_config"
    width: int = 32
    num_attention_heads: int = 2
    num_hidden_layers: int = 1
    image_size: int = 8
    patch_size: int = 4


class Config(ImageTextConfig):
    model_type = "seeing"
    sub_configs = {"text_config": LlamaConfig, "vision_config": Eye}
    tie_word_embeddings: bool = False


def test_the_parts_are_configs_of_their_classes():
    config = Config(text_config={"hidden_size": 64, "model_type": "llama"}, vision_config={"width": 16})
    assert type(config.text_config) is LlamaConfig and config.text_config.hidden_size == 64
    assert type(config.vision_config) is Eye and config.vision_config.width == 16
    assert config.get_text_config() is config.text_config
    assert Config().text_config.to_dict() == LlamaConfig().to_dict()


def test_a_file_gives_the_same(tmp_path):
    config = Config(text_config={"hidden_size": 64}, vision_config={"width": 16}, tie_word_embeddings=True)
    config.save_pretrained(tmp_path)
    again = Config.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert (again.vision_config.width, again.text_config.hidden_size, again.tie_word_embeddings) == (16, 64, True)


def test_a_text_of_another_type_keeps_it():
    """And no model is chosen that is not generated over it."""
    assert Config(text_config={"model_type": "mistral"}).text_config.model_type == "mistral"
    assert choose(KimiVLConfig(), {}, text=False)[0] is KimiVLForConditionalGeneration
    assert choose(KimiVLConfig(text_config={"model_type": "llama"}), {}, text=False)[0] is None


def test_the_attention_goes_over_to_both():
    config = Config()
    config._attn_implementation = "eager"
    assert {config.text_config._attn_implementation, config.vision_config._attn_implementation} == {"eager"}


def test_a_tower_of_another_class_takes_named_fields_and_equal_ones():
    config = Eye(width=16, image_size=12)
    config._attn_implementation = "eager"
    tower = build_tower(config, of=CLIPVisionModel, hidden_size=config.width, intermediate_size=20)
    made = tower.config
    assert type(made) is CLIPVisionConfig and made.model_type == "clip_vision_model"
    assert (made.hidden_size, made.intermediate_size, made.image_size, made.num_hidden_layers) == (16, 20, 12, 1)
    assert made._attn_implementation == config._attn_implementation
    assert tower(torch.zeros(1, 3, 12, 12)).last_hidden_state.shape == (1, 10, 16)


def test_a_tower_of_its_own_class_takes_the_config_itself():
    config = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=1)
    assert build_tower(config, of=CLIPVisionModel).config is config


def test_a_field_that_the_class_lacks_is_an_error():
    with pytest.raises(ValueError, match="CLIPVisionConfig has no deepth, widht"):
        build_tower(SiglipVisionConfig(), of=CLIPVisionModel, widht=3, deepth=2)
