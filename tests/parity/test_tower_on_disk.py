"""Wrong names, rows or pairs of a tower on disk: the reference reads what we write, and so they are noticed."""

import pytest

from nemo_automodel.components.models.kimi_k25_vl.state_dict_adapter import Kimi_K25StateDictAdapter
from nemo_automodel.parity import end_to_end
from nemo_automodel.parity.compare import failures
from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.reference import Reference
from tests.parity.conftest import ROOT

NAMES, FUSED = Kimi_K25StateDictAdapter.tower_names, Kimi_K25StateDictAdapter.tower_fused["wqkv"]
PREFIXES = Kimi_K25StateDictAdapter.names


@pytest.fixture(scope="module")
def opened():
    project = open_project("kimi_k25_vl", ROOT)
    return project.subject(), project.configs["base"]


def found(opened):
    """What the proof says of one batch; that the reference cannot load it at all is an answer, too."""
    subject, values = opened
    reference = Reference(subject, values)
    ours = build_ours(subject.model_class, reference.config, reference.disk)
    try:
        return failures(end_to_end.compare_saved(reference, ours, reference.drawing.batches()["short"]))
    except RuntimeError as error:
        return [error]


def test_as_it_is(opened):
    assert not found(opened)


@pytest.mark.parametrize(
    "change",
    [
        {"tower_names": {**NAMES, "norm0": "norm2", "norm1": "norm1"}},
        {"tower_names": {**NAMES, "mlp.fc0": "mlp.fc2", "mlp.fc1": "mlp.fc1"}},
        {"tower_names": {name: own for name, own in NAMES.items() if own != "attn.proj"}},
        {"tower_names": {name: own for name, own in NAMES.items() if own != "layers"}},
        {"tower_pairs": ()},
        {"tower_pairs": ("attn.q_proj",)},
        {"tower_pairs": FUSED},
        {"tower_fused": {}},
        {"tower_fused": {"wqkv": (FUSED[1], FUSED[0], FUSED[2])}},
        {"tower_fused": {"wqkv": (FUSED[0], FUSED[2], FUSED[1])}},
        {"tower_head_size": lambda self, config: 4},
        {"names": {name: own for name, own in PREFIXES.items() if not name.endswith(".0")}},
    ],
)
def test_what_is_wrong_is_noticed(opened, monkeypatch, change):
    for name, value in change.items():
        monkeypatch.setattr(Kimi_K25StateDictAdapter, name, value)
    assert found(opened)
