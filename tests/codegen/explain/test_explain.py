"""What `codegen explain` says: a folder per question with a spec, the question and the answer."""

import json
import os
import re
from pathlib import Path

import pytest

from codegen.errors import CodegenError, SpecError
from codegen.explain import explain
from codegen.language.check import specs_of_text
from codegen.memory.last_run import NotRegular
from tests.codegen.scratch.project import Project

CASES = sorted((Path(__file__).parent / "cases").iterdir())
UPDATE = "UPDATE_GOLDEN=1 pytest tests/codegen/explain/test_explain.py"
ROOT = Path(__file__).parents[3]
PLACES = re.compile(r"^(\S+\.(?:py|md|yaml)):\d+(?:-\d+)?", re.MULTILINE)


def asked(case, root):
    """The answer to a case's question: the first word names the spec, the second, if there is one, the field."""
    name, *field = (case / "question.txt").read_text().split()
    (root / "specs").mkdir()
    (root / f"specs/{name}.yaml").write_text((case / "spec.yaml").read_text())
    return explain(name, field[0] if field else None, root)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answer(case, tmp_path):
    """Line numbers of generated files move with every template; that they are right is another test's matter."""
    text = PLACES.sub(r"\1:N", str(asked(case, tmp_path))) + "\n"
    golden = case / "answer.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert golden.exists(), f"no answer.txt: write it with {UPDATE}"
    assert text == golden.read_text(), f"{case.name} differs: look at it, then {UPDATE}"


@pytest.mark.parametrize(("name", "field"), [("gemma2", "norm.offset"), ("gpt2", "attention.scale")])
def test_lines_stand_where_it_says(name, field):
    found = explain(name, field, ROOT)
    assert {Path(change.path).name for change in found.changes} >= {"model.py"}
    for change in found.changes:
        lines = (ROOT / change.path).read_text().splitlines()
        assert tuple(lines[change.first - 1 : change.last]) == change.there


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("atention", "did you mean 'attention'"),
        ("attention.windw", "did you mean 'window'"),
        ("attention.q_rank", "is no key of attention"),
        ("parts.nothing", "there is no such part"),
        ("", "is no key of a spec"),
    ],
)
def test_an_unknown_field_is_told(field, said):
    with pytest.raises(CodegenError, match=said):
        explain("llama", field, ROOT)


def test_an_unknown_or_invalid_spec_is_told(tmp_path):
    with pytest.raises(CodegenError, match="did you mean 'llama'"):
        explain("lama", None, ROOT)
    with pytest.raises(CodegenError, match="no spec of"):
        explain("../llama", None, ROOT)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/llama.yaml").write_text("name: llama\nnorm: rsmnorm\n")
    with pytest.raises(SpecError, match="did you mean 'rmsnorm'"):
        explain("llama", "norm", tmp_path)


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_a_spec_that_is_no_file_is_told_at_once(put, tmp_path):
    (tmp_path / "specs").mkdir()
    put(tmp_path / "specs/llama.yaml")
    with pytest.raises(NotRegular):
        explain("llama", None, tmp_path)


def test_every_written_field_of_every_spec_is_explained():
    for path in specs_of_text(ROOT / "specs"):
        found = explain(path.stem, None, ROOT)
        assert found.files and all(field.doc and field.where and field.value for field in found.fields), path.stem


def test_the_command(tmp_path):
    project = Project(tmp_path / "tree", stub=False)
    project.write("specs/mistral.yaml", "name: mistral\nattention: {window: config.sliding_window}\n")
    result = project.run("explain", "mistral", "attention.window", "--json")
    assert result.code == 0, result.err
    told = json.loads(result.out)
    assert (told["command"], told["exit_code"], told["compared"]) == ("explain", 0, "the spec without attention.window")
    assert [field["where"] for field in told["fields"]] == ["specs/mistral.yaml:2:13"]
    assert any("self.window" in line for change in told["changes"] for line in change["there"])
    assert project.run("explain", "mistral", "attention.windows").code == 2
