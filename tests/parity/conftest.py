"""One small Llama for all: broken in one place, it must be blamed there."""

from pathlib import Path

import pytest
from transformers.utils import logging

from nemo_automodel.parity.batches import batches
from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.reference import Reference

ROOT = Path(__file__).parents[2]
logging.disable_progress_bar()


@pytest.fixture(scope="session")
def project():
    return open_project("llama", ROOT)


@pytest.fixture(scope="session")
def reference(project):
    return Reference(project.subject(), project.configs["base"])


@pytest.fixture
def ours(reference):
    return build_ours(reference.subject.model_class, reference.config, reference.disk)


@pytest.fixture(scope="session")
def found(reference):
    return batches(reference.config.vocab_size)
