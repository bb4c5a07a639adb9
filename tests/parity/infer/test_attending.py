"""By which attention a reference is asked, where two of it are two models."""

import pytest

from nemo_automodel.parity.infer.budget import Budget
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.judge import Judge
from nemo_automodel.parity.infer.told import attended
from nemo_automodel.parity.project import open_project
from tests.parity.conftest import ROOT


def cases_of(name, **changed):
    """Cases whose first config is that of a spec's tests, with fields that the reference is to be asked for."""
    project = open_project(name, ROOT)
    subject = project.subject()
    subject = type(subject)(subject.model_class, subject.config_class, subject.reference_class)
    cases = Cases(subject, dict(project.configs["base"]), Budget(60))
    assert cases.add("base", project.configs["base"])
    cases.add("other", project.configs["base"] | changed)
    return cases, "other" in cases.oracles


def test_what_is_run_by_default_is_asked_where_eager_attention_is_another_model():
    """Falcon's adds its biases twice."""
    cases, taken = cases_of("falcon", alibi=True)
    assert not taken and cases.are_apart and "two models" in cases.refused[-1]
    judge = Judge(cases.subject, "falcon", cases.oracles)
    other = attended(Candidate({"name": "falcon"}, "x"), cases, judge)
    assert other.data["tests"] == {"attention": "sdpa"} and judge.subject.attention == "sdpa" and not cases.oracles
    base = open_project("falcon", ROOT).configs["base"]
    assert cases.add("base", base) and cases.add("other", base | {"alibi": True})
    assert attended(other, cases, judge) is None


@pytest.mark.parametrize(
    ("name", "changed"),
    [("starcoder2", {"sliding_window": 0}), ("helium", {"attention_bias": True})],
)
def test_nothing_else_is(name, changed):
    """A token that sees no other is no model, however attention is computed; most changes are the same by both."""
    cases, taken = cases_of(name, **changed)
    assert not cases.are_apart and taken == ("sliding_window" not in changed)
