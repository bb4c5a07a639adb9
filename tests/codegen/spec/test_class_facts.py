"""What classes of images and text tell by themselves is what the committed table says of them."""

import pytest
import torch
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from codegen.configs import vision_table
from nemo_automodel.components.models.common.releases import release
from nemo_automodel.parity.class_facts import _inside, _unlike, class_facts
from nemo_automodel.parity.config_fields import VISION_TABLE
from nemo_automodel.parity.config_rows import Table

COMMITTED = Table.read(VISION_TABLE)
HERE = release(transformers.__version__)
GIVEN = {COMMITTED.newest: COMMITTED.rows, COMMITTED.oldest: COMMITTED.oldest_given}
ROWS = next((rows for version, rows in GIVEN.items() if release(version) == HERE), {})
KINDS = ["Gemma3Config", "Mistral3Config", "Qwen2VLConfig", "Qwen3VLConfig", "JanusConfig", "VideoLlama3Config"]


@pytest.mark.parametrize("name", KINDS if ROWS else [])
def test_a_class_tells_what_the_table_says(name):
    row = ROWS[name]
    config = CONFIG_MAPPING[row["model_type"]]()
    assert class_facts(getattr(transformers, row["architectures"][0]), config) == row["model"]


def test_the_order_of_axes_is_that_of_the_angles():
    found = {name: vision_table().get(name).model["axes"] for name in ("Qwen2VLConfig", "Qwen3VLConfig", "Glm4vConfig")}
    assert found == {"Qwen2VLConfig": "chunked", "Qwen3VLConfig": "interleaved", "Glm4vConfig": "chunked"}


def test_a_tower_is_automatic_only_where_it_is_so_in_both_releases():
    assert COMMITTED.rows["Qwen2_5_VLConfig"]["model"]["auto"]
    assert not vision_table().get("Qwen2_5_VLConfig").model["auto"]


class Offset(nn.Module):
    """A norm that adds 1 to its weight."""

    def __init__(self, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.empty(4, device="meta")), eps

    def forward(self, x):
        return x * (1 + self.weight)


def test_norms_are_told_by_what_they_compute():
    module = nn.Sequential(nn.Linear(4, 4, device="meta"), Offset(0.5), nn.LayerNorm(4, 0.25, device="meta"))
    told = _inside(module, {0.5: "config.text_config.rms_norm_eps"})
    assert told["inside"] == {"0": "Linear", "1": "Offset", "2": "LayerNorm"}
    assert told["norms"] == {"1": {"eps": "config.text_config.rms_norm_eps", "offset": 1}, "2": {"eps": 0.25}}


def test_every_epsilon_gets_its_own_value():
    config = transformers.Gemma3Config()
    found = _unlike(config)
    assert found[config.text_config.rms_norm_eps] == "config.text_config.rms_norm_eps"
    assert found[config.vision_config.layer_norm_eps] == "config.vision_config.layer_norm_eps"
