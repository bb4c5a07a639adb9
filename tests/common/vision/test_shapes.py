"""The contract on models composed by hand, one of each shape."""

import pytest

from nemo_automodel._transformers import registry
from nemo_automodel.testing import ImageTextContract, ImageTextMixtureContract
from tests.common.vision import configs, shapes


class Shape(ImageTextContract):
    model_module = "tests.common.vision.shapes"
    test_processor_and_model_agree = None  # which a spec names

    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch):
        text = self.config().text_config.model_type
        place = (self.model_module, self.architecture)
        monkeypatch.setitem(registry.MODEL_TEXT_MAPPING, f"{self.architecture}/{text}", place)
        monkeypatch.setitem(registry.MODEL_TEXT_MAPPING, f"{self.subject.reference_class.__name__}/{text}", place)


class MixtureShape(Shape, ImageTextMixtureContract):
    pass


def shape(name, config, contract=Shape, **variants):
    """A test class of one shape."""
    base = getattr(configs, config)
    config_class = f"transformers:{getattr(shapes, name).config_class.__name__}"
    fields = {"spec": name, "architecture": name, "config_class": config_class, "configs": {"base": base} | variants}
    return type(f"Test{name}", (contract,), fields)


ALL_TOKENS = {**configs.LLAVA, "vision_feature_select_strategy": "full", "vision_feature_layer": [-2, -1]}
TestLlava = pytest.mark.full(shape("Llava", "LLAVA", variant_all_tokens=ALL_TOKENS))
TestMistral3 = pytest.mark.full(shape("Mistral3", "MISTRAL3"))
TestMistral4VL = pytest.mark.full(shape("Mistral4VL", "MISTRAL4_VL", MixtureShape))
TestQwen2_5VL = pytest.mark.full(shape("Qwen2_5VL", "QWEN2_5_VL"))
TestQwen3VL = shape("Qwen3VL", "QWEN3_VL")
TestGemma3 = shape("Gemma3", "GEMMA3")
TestPaliGemma = pytest.mark.full(shape("PaliGemma", "PALIGEMMA"))
