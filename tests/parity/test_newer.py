"""A family that the installed transformers does not have yet is told apart from one that has gone."""

import sys
from types import SimpleNamespace

import pytest
import transformers

from nemo_automodel.components.models.common import releases
from nemo_automodel.parity import proof, report  # noqa: F401  (before the older release stands in)
from nemo_automodel.parity.__main__ import main
from nemo_automodel.parity.newer import NewerFamily, asked_of_older, refuse_newer
from tests.parity.conftest import ROOT

CONFIG = "InternLM3Config"


@pytest.fixture
def older(monkeypatch):
    """A release without the class."""
    monkeypatch.setattr(releases, "INSTALLED", releases.OLDEST)
    without = SimpleNamespace(__version__="5.17.0", LlamaConfig=transformers.LlamaConfig)
    monkeypatch.setitem(sys.modules, "transformers", without)


def test_a_newer_family_is_told(older, capsys):
    assert main(["internlm3", "--root", str(ROOT)]) == 4
    assert f"has no {CONFIG}" in capsys.readouterr().err


def test_other_classes_are_no_newer_families(older, monkeypatch):
    for name in ("transformers:LlamaConfig", "transformers:NoSuchConfig", f"elsewhere:{CONFIG}"):
        refuse_newer(name)
    monkeypatch.setattr(releases, "INSTALLED", releases.NEWEST)  # that release should have it
    refuse_newer(f"transformers:{CONFIG}")
    monkeypatch.setattr(releases, "INSTALLED", releases.OLDEST)
    with pytest.raises(NewerFamily):
        refuse_newer(f"transformers:{CONFIG}")


def test_what_an_older_release_raises_is_no_fault_of_ours(monkeypatch):
    """The last that was tested has no excuse, and at no release has a class of our own."""
    cases = (
        (releases.OLDEST, transformers.LlamaConfig, NewerFamily),
        (releases.NEWEST, transformers.LlamaConfig, KeyError),
        (releases.OLDEST, releases.CheckpointedLayer, KeyError),
    )
    for installed, asked, expected in cases:
        monkeypatch.setattr(releases, "INSTALLED", installed)
        with pytest.raises(expected, match="text_config"), asked_of_older(asked):
            raise KeyError("text_config")
