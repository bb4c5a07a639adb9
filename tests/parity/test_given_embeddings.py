"""Embeddings that are given stay as they are, whatever a reference does to its argument."""

import pytest

from nemo_automodel.parity.asked import embedded
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.reference_answers import Measured
from tests.parity.conftest import ROOT


@pytest.mark.parametrize("name", ["ctrl"])
def test_a_reference_that_scales_them_in_place_changes_no_later_answer(name):
    project = open_project(name, ROOT)
    measured = Measured(project.subject(), project.configs["base"], Reference)
    before = measured.embeds.clone()
    assert embedded(measured.reference.model, measured) == []
    assert (measured.embeds == before).all()
    assert embedded(measured.reference.model, measured) == []
