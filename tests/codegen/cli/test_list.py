"""`codegen list`: what is proven, what is missing, and the page that says both."""

from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from codegen.places import HERE
from codegen.run import coverage
from codegen.run.inventory import Row, rows
from codegen.run.missing import LACKING, causal_types, lacking_values, missing, missing_images
from codegen.run.pipeline import Options
from codegen.run.proofs import RECORD, Proof, fingerprint, parsed, with_proof
from tests.codegen.scratch.project import REPOSITORY, Project

OLD, NEW = Proof("5.17.0", 20, 3e-6, 1e-5, 1.02), Proof("5.24.0", 21, 2e-6, 1e-5, 1.01)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "tree")
    made.spec("llama", "\n# a comment")
    assert made.run("apply").code == 0
    return made


def test_a_proof_is_of_the_code_that_stood_there(project: Project) -> None:
    def listed() -> str:
        return project.run("list").out.strip()

    assert listed().endswith("1 lines  generated")
    model = "nemo_automodel/components/models/llama/model.py"
    code = fingerprint(
        {model: sha256((project.root / model).read_bytes()).hexdigest(), "docs/llama.md": "other"}, HERE.models
    )
    project.write(f"{HERE.docs}/{RECORD}", with_proof(None, "llama", code, NEW).decode())
    assert listed().endswith("generated, proven with 5.24.0: 2.0e-06 of 1e-05")
    (row,) = project.run("list", "--json").json["specs"]
    assert row["proven"] == "yes" and row["proofs"][0][0] == "5.24.0"
    project.spec("llama", "more: 1")
    assert project.run("apply").code == 0
    assert listed().endswith("generated, proven before its code changed")


def test_a_record_keeps_one_proof_a_release_and_none_of_other_code() -> None:
    record = with_proof(with_proof(None, "b", "1", NEW), "b", "1", OLD)
    better = NEW._replace(worst=1e-6)
    record = with_proof(with_proof(record, "b", "1", better), "a", "1", OLD)
    known = parsed(record)
    assert list(known) == ["a", "b"] and known["b"].proofs == (better, OLD)
    assert parsed(with_proof(record, "b", "2", OLD))["b"].proofs == (OLD,)
    assert len(record.splitlines()) == 4, "a line a model"


@pytest.mark.parametrize("record", [None, b"", b"{", b"[]", b'{"a": 1}', b'{"a": {"code": "1", "proofs": [[1]]}}'])
def test_a_record_that_cannot_be_read_proves_nothing(record: bytes | None) -> None:
    assert parsed(record) == {}
    assert list(parsed(with_proof(record, "a", "1", OLD))) == ["a"]


def test_the_page_is_what_the_command_writes() -> None:
    listed = rows(Options(str(REPOSITORY), cache=False))
    absent = missing(listed, REPOSITORY)
    waiting = {one.model_type for one in absent if one.lacks.startswith("specs/")}
    assert lacking_values().keys() <= {one.model_type for one in absent} - waiting, "what has a spec lacks nothing"
    page = coverage.page(listed, absent)
    assert (REPOSITORY / HERE.docs / coverage.PAGE).read_text() == page, "run `codegen list --write`"


def test_models_of_images_and_text_are_told_with_their_text() -> None:
    absent = {one.model_type: one for one in missing_images([], REPOSITORY)}
    assert absent["llava"].architecture == "LlavaForConditionalGeneration"
    assert "no spec is that of its text, llama" in absent["llava"].lacks
    known = [Row(name, f"specs/{name}.yaml", 1, (), "generated", model_type=name) for name in ("llama", "llava")]
    rest = {one.model_type: one.lacks for one in missing_images(known, REPOSITORY)}
    assert "llava" not in rest and rest["vipllava"] == "images and text; llama has a spec"


def test_what_lacks_is_in_order_and_of_known_types() -> None:
    listed = list(yaml.safe_load(LACKING.read_text()))
    assert listed == sorted(listed) and set(listed) <= {kind for kind, _ in causal_types()}


def test_elsewhere_what_the_library_has_is_not_missing(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "specs").mkdir(parents=True)
    (tree / "pyproject.toml").write_text('[tool.codegen]\npackage = "mine.models"\n')
    here = rows(Options(str(REPOSITORY)))
    assert missing([], tree) == missing(here, REPOSITORY)
    assert missing_images([], tree) == missing_images(here, REPOSITORY)
