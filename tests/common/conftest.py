"""Ways in which checkpoints of routed experts are read."""

import pytest

from nemo_automodel._transformers import registry
from nemo_automodel.components.models.common.checkpoint import expert_loading, loading
from tests.common.tiny_experts import TinyExpertsConfig


@pytest.fixture
def registered_experts(monkeypatch):
    """The entry points know the tiny model of experts."""
    place = ("tests.common.tiny_experts", "TinyExpertsForCausalLM")
    monkeypatch.setitem(registry.MODEL_ARCH_MAPPING, "TinyExpertsForCausalLM", place)
    entry = (place[0], "TinyExpertsConfig")
    monkeypatch.setitem(registry._CUSTOM_CONFIG_REGISTRATIONS, TinyExpertsConfig.model_type, entry)


@pytest.fixture
def only_in_place(monkeypatch):
    """transformers' loader may see no expert."""
    convert = loading.Load.convert

    def refuse(self, tensors, source_patterns, target_patterns, full_layer_name=None, **kwargs):
        assert "experts" not in full_layer_name, f"{full_layer_name} went through transformers"
        return convert(self, tensors, source_patterns, target_patterns, full_layer_name, **kwargs)

    monkeypatch.setattr(loading.Load, "convert", refuse)


@pytest.fixture
def never_in_place(monkeypatch):
    monkeypatch.setattr(expert_loading, "_fills_in_place", lambda *_: False)
