"""`codegen new --missing`: every type without a spec, each searched for by itself."""

import json

from nemo_automodel.parity.infer.missing import NOTHING, OPEN, PROVEN, Outcome, missing_types, outcomes, summary, told
from nemo_automodel.parity.infer.sample import write_sample


def test_types_are_those_that_no_spec_generates(hidden):
    there = hidden("jais2")
    assert "jais2" in missing_types(there.tree)
    assert "qwen3" not in missing_types(there.tree)  # its spec stands there


def test_each_type_ends_by_itself(hidden):
    """One is proven and written, beside one of which nothing can begin."""
    there = hidden("jais2")
    found = {one.model_type: one for one in outcomes(["vit", "jais2"], there.tree, 60)}
    assert found["jais2"].outcome == PROVEN, found["jais2"]
    assert (there.tree / "specs/jais2.yaml").exists()
    (there.tree / "specs/jais2.yaml").unlink()
    assert found["vit"].outcome == NOTHING
    assert "has no causal language model of this type" in found["vit"].said


def test_a_type_that_borrows_its_class_has_a_name_of_its_own(hidden, tmp_path):
    """transformers runs it by Llama's class, which is that of another spec."""
    write_sample("iquestcoder", hidden("iquestcoder").tree, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["IQuestCoderForCausalLM"]


def test_what_is_open_is_said_with_its_first_component():
    stop = {"what": "outputs, one", "configuration": "base", "components": {"model.layers.0.mlp": 0.25}, "said": ""}
    outcome, said, seconds = told({"proven": False, "open": stop, "seconds": 3.0})
    assert (outcome, said, seconds) == (OPEN, "outputs, one, base: model.layers.0.mlp, 2.5e-01", 3.0)


def test_the_summary_counts_and_names_what_is_proven():
    rows = [
        Outcome("b", PROVEN, "3 configurations"),
        Outcome("a", OPEN, "bits", lacks="more"),
        Outcome("c", NOTHING, ""),
    ]
    assert summary(rows).splitlines() == ["3 model types without a spec: 1 proven, 1 not proven, 1 not begun", "  b"]
    assert "(lacking: more)" in str(rows[1])
