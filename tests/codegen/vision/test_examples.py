"""The example of a model of images and text is an artifact like any other: made, guarded, handed over, removed."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.codegen.cli.test_real import INDEX_PAGE
from tests.codegen.scratch.project import INDEX, REPOSITORY, Project

EXAMPLE = "examples/vlm_finetune/llava/llava.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path, stub=False)
    for index in (INDEX, INDEX.replace("llm", "vlm")):
        made.write(index, INDEX_PAGE)
    for name in ("llama", "llava"):
        shutil.copy(REPOSITORY / f"specs/{name}.yaml", made.root / "specs")
    assert made.run("apply").code == 0
    return made


def test_it_names_the_entry_point_of_images_and_the_hub(project: Project) -> None:
    made = yaml.safe_load(project.read(EXAMPLE))
    assert made["model"] == {
        "_target_": "nemo_automodel.NeMoAutoModelForImageTextToText.from_pretrained",
        "pretrained_model_name_or_path": "llava-hf/llava-1.5-7b-hf",
    }
    assert made["dataset"]["_target_"] == "nemo_automodel.recipes.images.MockImageTextDataset"
    assert made["freeze"] == ["vision"]
    text = yaml.safe_load(project.read("examples/llm_finetune/llama/llama.yaml"))
    assert {name: made[name] for name in ("optimizer", "fsdp")} == {name: text[name] for name in ("optimizer", "fsdp")}
    assert f"- Example: `{EXAMPLE}`" in project.read("docs/model-coverage/vlm/llava.md")


def test_it_is_guarded_and_handed_over(project: Project) -> None:
    project.write(EXAMPLE, project.read(EXAMPLE).replace("samples: 1024", "samples: 8"))
    result = project.run("check", "--json")
    assert result.code == 3 and [conflict["path"] for conflict in result.json["conflicts"]] == [EXAMPLE]
    assert "-  samples: 1024" in project.run("diff").out + project.run("diff").err
    assert EXAMPLE in project.run("eject", "llava").out
    assert project.read(EXAMPLE).startswith("model:") and "samples: 8" in project.read(EXAMPLE)


def test_it_goes_with_its_spec(project: Project) -> None:
    (project.root / "specs/llava.yaml").unlink()
    assert project.run("check").code == 1
    assert f"{EXAMPLE}: deleted" in project.run("apply").out
    assert not (project.root / EXAMPLE).exists() and (project.root / "examples/llm_finetune/llama/llama.yaml").exists()


def test_a_text_is_not_handed_over_from_below_its_model(project: Project) -> None:
    before = project.contents()
    refused = project.run("eject", "llama")
    assert refused.code == 2 and "is the text of llava" in refused.err and "eject llava first" in refused.err
    assert project.contents() == before
    assert project.run("eject", "llava").code == 0 and project.run("eject", "llama").code == 0
    assert project.run("check").code == 0
