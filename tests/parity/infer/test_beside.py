"""What is changed beside another change: each two flags, and probabilities of dropout beside a flag."""

from codegen.tiny.configs import is_dropout
from nemo_automodel.parity.infer.budget import Budget
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.judge import Judge
from nemo_automodel.parity.infer.variants import BESIDE, dropouts, dropouts_beside, flags_at_once
from nemo_automodel.parity.project import open_project
from tests.parity.conftest import ROOT


def test_each_two_flags_are_changed_at_once():
    made = dict(flags_at_once([{"one": True}, {"two": False, "heads": 3}, {"three": True}]))
    assert made == {
        "at_once_one_two": {"one": True, "two": False, "heads": 3},
        "at_once_one_three": {"one": True, "three": True},
        "at_once_two_three": {"two": False, "heads": 3, "three": True},
    }


def test_a_probability_alone_takes_back_only_others_that_act():
    fields = {"embd_pdrop": 0.1, "hidden_dropout": 0.0, "attention_dropout": 0.0, "eps": 1e-5}
    made = dict(dropouts({"attention_dropout": 0.2}, fields))
    assert made["dropout_hidden_dropout"] == {"embd_pdrop": 0.0, "attention_dropout": 0.0, "hidden_dropout": 0.3}
    assert made["dropout_embd_pdrop"] == {"attention_dropout": 0.0, "embd_pdrop": 0.3}


def test_probabilities_are_asked_beside_each_flag():
    alone = [("dropout_a", {"a": 0.3}), ("dropout_b", {"b": 0.3})]
    assert dict(dropouts_beside(alone, {"field_flag": {"flag": True}}, ["b"])) == {
        "dropout_beside_field_flag_dropout_b": {"b": 0.3, "flag": True}
    }


def test_only_probabilities_of_the_stream_are_asked_beside_flags():
    text = (ROOT / "specs/falcon.yaml").read_text()
    less = text.replace("residual: config.attention_dropout", "residual: 0.0")
    assert [Candidate.read(one, "falcon").dropped() for one in (less, text)] == [
        ["hidden_dropout"],
        ["hidden_dropout", "attention_dropout"],
    ]


def test_what_drops_elsewhere_beside_a_flag_is_told():
    """Here a serial block, where a probability acts on the MLP alone, and another one on attention."""
    project = open_project("falcon", ROOT)
    text = (ROOT / "specs/falcon.yaml").read_text()
    wrong = "dropout: {attention: 0.0, residual: config.hidden_dropout}"
    right = "dropout: {attention: 0.0, residual: config.attention_dropout, mlp: config.hidden_dropout}"
    assert right in text
    cases = Cases(project.subject(), dict(project.configs["base"]), Budget(60))
    candidate = Candidate.read(text, "falcon")
    assert cases.add("base", project.configs["base"])
    for flag in ("parallel_attn", "bias"):
        assert cases._takes(flag, cases.base, {flag: not cases.before[flag]})
        cases._changed.append({flag: not cases.before[flag]})
    cases._change_many(candidate, cases.base)
    assert [name for name in cases.oracles if name.startswith(BESIDE)]
    judge = Judge(project.subject(), "falcon", cases.oracles)
    assert judge.stop(candidate) is None
    stop = judge.stop(Candidate.read(text.replace(right, wrong), "falcon"))
    assert stop.what == "loss in training" and any(map(is_dropout, cases.changed(stop.case)))
