"""Samples of what once went wrong: each equals its meaning now, or is refused for this reason."""

import pytest
import torch

from tests.random_specs.fields import framed
from tests.random_specs.refusals import REFUSED
from tests.random_specs.samples import EQUAL, FIELDS
from tests.random_specs.trial import tried


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", EQUAL)
def test_equals_its_meaning(name, tmp_path):
    fields = {"one": False, "other": False, "mlp_bias": False} | FIELDS.get(name, {})
    verdict = tried(framed(name, EQUAL[name], fields), tmp_path)
    assert verdict.word == "equal", verdict.notes


@pytest.mark.parametrize("name", REFUSED)
def test_is_refused(name, tmp_path):
    sections, message = REFUSED[name]
    verdict = tried(framed(name, sections), tmp_path)
    assert verdict.word == "refused", verdict.notes
    assert any(message in note for note in verdict.notes), verdict.notes
