"""Towers and projectors of transformers: the attention that they can do, and where their weights start."""

import pytest
import torch
from torch import nn
from transformers import AriaConfig, CLIPVisionConfig, GotOcr2Config
from transformers.models.aria.modeling_aria import AriaProjector
from transformers.models.got_ocr2.modeling_got_ocr2 import GotOcr2VisionEncoder

from nemo_automodel._transformers.auto_model import NeMoAutoModelForImageTextToText
from nemo_automodel.components.models.common.vision.tower import build_tower, family_of
from nemo_automodel.parity.newer import asked_of_older
from tests.unit_tests.models.aria import test_aria


@pytest.mark.parametrize(("asked", "found"), [("sdpa", "eager"), ("eager", "eager")])
def test_a_tower_is_eager_where_it_can_do_nothing_else(asked, found):
    config = GotOcr2Config().vision_config
    config.num_hidden_layers, config.image_size, config._attn_implementation = 1, 32, asked
    assert build_tower(config, of=GotOcr2VisionEncoder).config._attn_implementation == found


def test_a_tower_does_what_the_text_does():
    config = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    config._attn_implementation = "sdpa"
    assert build_tower(config).config._attn_implementation == "sdpa"


def test_a_projector_of_transformers_starts_as_there():
    """Its query is a bare parameter, which transformers draws and torch makes of zeros."""
    with asked_of_older(AriaConfig):
        config = AriaConfig(**test_aria.TestAria.base)
    model = NeMoAutoModelForImageTextToText.from_config(config)
    query = model.model.multi_modal_projector.query
    assert isinstance(model.model.multi_modal_projector, AriaProjector)
    assert 0.5 < query.std() / model.config.initializer_range < 1.5
    assert family_of(nn.Linear(1, 1), model.config) is None
    assert torch.equal(model.model.multi_modal_projector.layer_norm.bias, torch.zeros(32))
