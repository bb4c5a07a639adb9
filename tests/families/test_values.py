"""Specs with values that no whole family shows yet: what they would generate equals the reference.

Nothing is written to the tree. A family in `specs/` gets the whole contract instead.
"""

from pathlib import Path

import pytest
from transformers.utils import logging

from codegen.configs import table
from codegen.language.check import read_spec
from codegen.language.loaded import config_class
from codegen.plan.model import build
from codegen.render.files import model_files
from codegen.tiny.configs import configs
from nemo_automodel.parity import end_to_end, state_dict
from nemo_automodel.parity.batches import batches
from nemo_automodel.parity.compare import failures
from nemo_automodel.parity.ours import build_ours
from nemo_automodel.parity.project import Project
from nemo_automodel.parity.proof import compare
from nemo_automodel.parity.reference import Reference
from nemo_automodel.parity.sandbox import installed

ROOT = Path(__file__).parents[2]
SPECS = [read_spec(path, ROOT) for path in sorted((Path(__file__).parent / "specs").glob("*.yaml"))]
logging.disable_progress_bar()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_family_equals_its_reference_by_its_spec_alone(spec):
    project = Project(ROOT, spec, configs(spec, table()))
    with installed(spec.name, model_files(build(spec, config_class(spec, table())), lambda source, _: source)):
        subject = project.subject()
        reference = Reference(subject, project.configs["base"])
        result = compare(subject, reference, "base", "split")
        assert result.passed, f"{failures(result.checks)[:5]}; first: {result.first_difference}"
        assert not failures(packed(subject, reference))


def packed(subject, reference):
    """The levels that see how projections are stored."""
    options = {"backend": "packed", "attention": subject.attention}
    ours = build_ours(subject.model_class, reference.config, reference.disk, **options)
    left = batches(reference.config.vocab_size)["left"]
    return state_dict.compare(ours, reference.disk) + end_to_end.compare(reference, ours, {"left": left})
