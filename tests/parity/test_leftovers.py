"""Names are found for what references leave out by a pattern: whole layers, and buffers inside of one."""

from types import SimpleNamespace

import pytest
from transformers import PreTrainedConfig

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.rules import Rename
from nemo_automodel.parity.leftovers import left_out, not_left_out

OUTLINE = SimpleNamespace(state_dict_adapter=None)  # of a model of text
NAMES = ("model.layers.0.attn.q.weight", "model.layers.1.attn.q.weight")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r"model\.layers\.61.*", ["model.layers.61.weight"]),
        (r"^mtp.*", ["mtp.weight"]),
        (r"^model\.mtp\.", ["model.mtp.weight"]),
        (r"(^|\.)mtp\..*", ["mtp.weight"]),
        ("attn.bias", ["model.layers.0.attn.bias"]),
        (r".*relative_position_index.*", []),
        ("inv_freq", []),
    ],
)
def test_left_out(pattern, names):
    model = SimpleNamespace(_keys_to_ignore_on_load_unexpected=[pattern])
    reference = SimpleNamespace(model=model, disk=dict.fromkeys(NAMES), outline=OUTLINE)
    assert left_out(reference) == names
    assert not_left_out(tiny(layers=62), reference) == names
    assert not_left_out(tiny([pattern]), reference) == []


def test_layers_beyond_the_last_need_no_pattern():
    reference = SimpleNamespace(
        model=SimpleNamespace(_keys_to_ignore_on_load_unexpected=[r"model\.layers\.61.*"]),
        disk=dict.fromkeys(NAMES),
        outline=OUTLINE,
    )
    assert not_left_out(tiny(), reference) == []


def test_names_of_the_disk_are_those_of_memory_to_a_model():
    """As below a text that lies elsewhere on disk, in a model of images and text."""
    pattern = r"model\.layers\.61.*"
    model = SimpleNamespace(_keys_to_ignore_on_load_unexpected=[pattern])
    reference = SimpleNamespace(model=model, disk=dict.fromkeys(NAMES), outline=OUTLINE)
    elsewhere = tiny()
    elsewhere.state_dict_adapter, elsewhere.base_model._layers_name = Elsewhere(None), "decoder"
    assert not_left_out(elsewhere, reference) == []


class Elsewhere(StateDictAdapter):
    def rules(self, config):
        return [Rename("model.layers", "model.decoder")]


def tiny(patterns=None, layers=2):
    model = SimpleNamespace(base_model_prefix="model", config=PreTrainedConfig(num_hidden_layers=layers))
    model.state_dict_adapter = StateDictAdapter(None)
    model.base_model, model._keys_to_ignore_on_load_unexpected = SimpleNamespace(_layers_name="layers"), patterns
    return model
