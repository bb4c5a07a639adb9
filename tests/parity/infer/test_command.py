"""`codegen new PATH`, as people type it."""

import json
import os
import subprocess
import sys

from tests.parity.conftest import ROOT


def typed(tree, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "codegen", "new", *map(str, arguments)]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_proven_spec_is_written_and_kept(hidden):
    there = hidden("jais2")
    done = typed(there.tree, there.checkpoint, "--explain", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert told["command"] == "new"
    assert told["proven"]
    assert told["configurations"][0] == "base"
    assert any("norm" in step for step in told["steps"])
    spec = there.tree / "specs/jais2.yaml"
    assert spec.read_text() == told["text"]
    again = typed(there.tree, there.checkpoint)
    assert again.returncode == 2
    assert "exists already and is not overwritten" in again.stderr
    assert spec.read_text() == told["text"]


def test_a_model_type_is_enough(hidden):
    """transformers' class writes the checkpoint that the draft is made from: a small one, with random weights."""
    there = hidden("jais2")
    done = typed(there.tree, "jais2", "--stdout")
    assert done.returncode == 0, done.stderr
    assert "Seen in jais2: dense" in done.stderr
    assert "Proven against transformers" in done.stderr
    assert "norm: layernorm\n" in done.stdout


def test_a_type_of_no_causal_model_is_refused(hidden):
    done = typed(hidden("jais2").tree, "vit")
    assert done.returncode == 2
    assert "has no causal language model of this type" in done.stderr
    unknown = typed(hidden("jais2").tree, "no_such_model")
    assert unknown.returncode == 2
    assert "there is no such file or folder; name a config.json or the folder of a checkpoint, or a model type" in (
        unknown.stderr
    )


def test_what_is_not_proven_is_not_written(hidden):
    there = hidden("gemma2")
    done = typed(there.tree, there.checkpoint, "--seconds", "0")
    assert done.returncode == 1
    assert "Not proven against transformers" in done.stdout
    assert "Nothing was written" in done.stdout
    assert not (there.tree / "specs/gemma2.yaml").exists()
    drafted = typed(there.tree, there.checkpoint, "--draft")
    assert drafted.returncode == 0
    assert "# uncertain: " in (there.tree / "specs/gemma2.yaml").read_text()


def test_no_keyword_is_swallowed(hidden):
    there = hidden("gemma2")
    for keywords, message in (
        (["--draft", "--seconds", "5"], "are of the search"),
        (["--text", "--explain"], "are of the search"),
        (["--missing"], "or give --missing"),  # and not both
    ):
        done = typed(there.tree, there.checkpoint, *keywords)
        assert done.returncode == 2
        assert message in done.stderr
    for keywords in (["--stdout"], ["--name", "x"], ["--explain"], ["--text"], ["--draft"]):
        done = typed(there.tree, "--missing", *keywords)
        assert done.returncode == 2
        assert "leave --name, --draft, --text, --stdout, --explain out" in done.stderr
