"""What the commands print and return."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import codegen
from tests.codegen.scratch.project import REPOSITORY, Project, environment


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "tree")
    made.spec("llama")
    return made


def test_exit_codes_of_apply_and_check(project: Project) -> None:
    assert project.run("check").code == 1
    assert project.run("apply", "--exit-non-zero-on-change").code == 1
    assert project.run("apply", "--exit-non-zero-on-change").code == 0
    assert project.run("check").code == 0
    project.spec("llama", "changed")
    assert project.run("apply").code == 0


@pytest.mark.parametrize(
    "arguments", [["check", "--nonsense"], ["nonsense"], [], ["eject"], ["check", "--root", "/nonexistent"]]
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "codegen", *arguments]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr


def test_outside_of_a_tree_the_cure_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "codegen", "check"]
    result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "--root" in result.stderr


def test_root_is_found_from_below(project: Project) -> None:
    assert project.run("apply").code == 0
    below = project.root / "nemo_automodel/components"
    command = [sys.executable, "-m", "codegen", "check", "--json"]
    result = subprocess.run(command, cwd=below, env=environment(), capture_output=True, text=True, check=False)
    assert (result.returncode, json.loads(result.stdout)["clean"]) == (0, True)


def test_json_has_the_same_keys_whatever_happens(project: Project) -> None:
    keys = {"command", "exit_code", "clean", "changes", "conflicts", "problems", "notes"}
    drift = project.run("check", "--json").json
    assert {"path": "nemo_automodel/components/models/llama/model.py", "action": "create"} in drift["changes"]
    applied = project.run("apply", "--json").json
    settled = project.run("check", "--json").json
    anew = project.run("check", "--json", "--no-cache").json
    project.spec("llama", "bad")
    refused = project.run("apply", "--json").json
    assert refused["problems"] == [
        {
            "file": "specs/llama.yaml",
            "line": 2,
            "column": 3,
            "key": "body",
            "message": "is bad",
            "cure": "make it good",
        }
    ]
    assert {frozenset(report) for report in (drift, applied, settled, anew, refused)} == {frozenset(keys)}
    assert settled == anew


def test_json_of_an_error_outside_the_report(project: Project) -> None:
    result = project.run("eject", "nobody", "--json")
    assert result.code == 2
    assert set(result.json) == {"command", "exit_code", "error", "problems"}


def test_diff_is_a_patch_that_git_applies(project: Project, tmp_path: Path) -> None:
    assert project.run("apply").code == 0
    project.spec("llama", "changed")
    project.spec("new")
    project.spec("gone")
    diff = project.run("diff")
    assert diff.code == 1
    patch = tmp_path / "patch"
    patch.write_text(diff.out)
    subprocess.run(["git", "apply", str(patch)], cwd=project.root, check=True)
    assert project.run("check").code == 0
    assert project.run("diff").out == ""


def test_list_shows_every_state(project: Project) -> None:
    assert project.run("apply").code == 0
    project.spec("fresh")
    rows = {row["name"]: row for row in project.run("list", "--json").json["specs"]}
    assert {name: row["state"] for name, row in rows.items()} == {
        "llama": "generated",
        "fresh": "drift",
    }
    assert rows["llama"]["architectures"] == ["LlamaForCausalLM"]
    project.write("nemo_automodel/components/models/fresh/model.py", "mine\n")
    assert "conflict" in project.run("list").out
    project.spec("fresh", "bad")
    assert "invalid" in project.run("list").out


def test_files_that_would_be_overlooked_are_refused(project: Project) -> None:
    project.write("specs/other.yml", "name: other\n")
    result = project.run("apply")
    assert result.code == 2 and "rename it to specs/other.yaml" in result.err


def test_missing_registry_is_an_error_with_its_cure(project: Project) -> None:
    registry = "nemo_automodel/_transformers/registry.py"
    (project.root / registry).unlink()
    for command in ("apply", "check"):
        result = project.run(command)
        assert result.code == 2 and f"{registry}:1:1: file: is missing" in result.err and "git checkout" in result.err
    assert not (project.root / "nemo_automodel/components").exists()


def test_missing_page_of_the_docs_is_worth_a_note(project: Project) -> None:
    (project.root / "docs/model-coverage/llm/index.md").unlink()
    assert "there is no docs/model-coverage/llm/index.md" in project.run("apply").err
    assert "there is no" in project.run("check").err, "the note must not vanish on the next run"


def test_version_is_the_distributions() -> None:
    command = [sys.executable, "-m", "codegen", "--version"]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True)
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["dynamic"]["version"] == {"attr": "codegen.__version__"}
    assert result.stdout.strip() == f"codegen {codegen.__version__}"


def test_parity_runs_in_a_process_of_its_own_with_its_arguments(project: Project) -> None:
    project.write("nemo_automodel/__init__.py", "")
    project.write("nemo_automodel/parity/__init__.py", "")
    project.write("nemo_automodel/parity/__main__.py", "import sys\nprint(sys.argv[1:])\nsys.exit(5)\n")
    result = project.run("parity", "llama", "--checkpoint", "/x", "--sensitivity", "--json")
    assert result.code == 5
    assert result.out.strip() == "['llama', '--checkpoint', '/x', '--sensitivity', '--json']"


def test_commands_import_nothing_heavy() -> None:
    code = (
        "import sys; from codegen import cli, commands; from codegen.run import eject, inventory, pipeline;"
        "heavy = {'torch', 'transformers', 'nemo_automodel', 'yaml', 'libcst', 'black', 'cerberus'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
