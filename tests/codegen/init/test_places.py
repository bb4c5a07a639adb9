"""`[tool.codegen]`: where things stand, and what is said of a table that is no good."""

import subprocess
import sys
from pathlib import Path

import pytest

from codegen.errors import CodegenError
from codegen.layout import find_root
from codegen.places import APART, HERE, Places, read_places
from tests.codegen.scratch.project import INDEX, REGISTRY, REPOSITORY, Project, environment

TABLE = '[tool.codegen]\npackage = "mine.models"\n'


def placed(table: str) -> Places:
    return read_places(f"[tool.codegen]\n{table}\n".encode())


def test_without_a_table_all_is_as_here() -> None:
    assert read_places((REPOSITORY / "pyproject.toml").read_bytes()) is HERE
    assert read_places(b"no TOML, and nobody asks: codegen") is HERE
    assert HERE.own_registry is None and not HERE.borrows


def test_an_empty_table_says_that_the_library_is_installed() -> None:
    assert placed("") == HERE._replace(borrows=True)


def test_a_package_has_its_registry() -> None:
    found = placed('package = "mine.models"\nsource = "src"')
    assert (found.models, found.registry) == ("src/mine/models", "src/mine/models/registry.py")
    assert found.own_registry == "mine.models.registry"
    assert found.first_party == ("mine", "tests")
    assert placed('package = "mine.models"\nregistry = "mine/known.py"').own_registry == "mine.known"


@pytest.mark.parametrize(
    "text",
    [
        '[ tool . codegen ]\npackage = "mine.models"',
        '[tool."codegen"]\npackage = "mine.models"',
        "['tool'.'codegen']\npackage = 'mine.models'",
        '[tool]\nx = 1\ncodegen.package = "mine.models"',
        '[tool]\ncodegen = {package = "mine.models"}',
        '[tool]\n"codegen" = { package = "mine.models" }',
        'tool = {codegen = {package = "mine.models"}}',
        'tool = { x = 1, codegen.package = "mine.models" }',
    ],
)
def test_a_table_is_found_however_toml_writes_it(text: str, tmp_path: Path) -> None:
    assert read_places(text.encode()).package == "mine.models"
    (tmp_path / "pyproject.toml").write_text(text)
    assert find_root(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    "text", ["tool = 3\n# tool.codegen", "[tool.x]\ncodegen.a = 1", '[scripts]\ncodegen = "codegen.cli:main"']
)
def test_the_same_words_elsewhere_are_no_table(text: str) -> None:
    assert read_places(text.encode()) is HERE


def test_folders_can_be_switched_off() -> None:
    found = placed('package = "mine.models"\ntests = false\nexamples = false\ndocs = false')
    assert found.outputs == ("mine/models",)


def test_the_hand_written_tree_has_layers_under_another_name() -> None:
    found = placed('layout = "nemo_automodel"')
    assert found == HERE._replace(library=APART, borrows=True, shared=True)
    assert found.of_library("nemo_automodel.components.moe.layers") == f"{APART}.components.moe.layers"
    assert found.of_library("nemo_automodels") == "nemo_automodels"
    assert found.own_registry == "nemo_automodel._transformers.registry"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('pakage = "mine"', r"\[tool.codegen\] pakage: is not known; the keys are package"),
        ("package = false", "package: is False; write a string$"),
        ("docs = true", "docs: is True; write a string, or false"),
        ('package = "mine-models"', "'mine-models' is no dotted name"),
        ('package = "mine.import"', "'mine.import' is no dotted name"),
        ('specs = "../specs"', "specs: '../specs' is no plain path"),
        ('specs = "/specs"', "specs: '/specs' is no plain path"),
        ('library = "a b"', "'a b' is no name of a package"),
        ('specs = ""', "specs: '' is no plain path"),
        ('layout = "megatron"', "layout: 'megatron' is not known"),
        ('package = "mine"\ntests = "mine/tests"', "mine/tests lies in mine"),
        ('specs = "docs"\ndocs = "docs"', "docs/llm lies in docs"),
        ('tests = "a"\nexamples = "a-b"\nspecs = "a/b"', "a/b lies in a"),
        ("package =", "pyproject.toml: "),
    ],
)
def test_a_table_that_is_no_good(table: str, message: str) -> None:
    with pytest.raises(CodegenError, match=message):
        placed(table)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(CodegenError, match="is no table"):
        read_places(b"tool.codegen = 3\n")


def test_the_root_is_found_by_the_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(TABLE + 'specs = "architectures"\n')
    (tmp_path / "deep/er").mkdir(parents=True)
    assert find_root(str(tmp_path / "deep/er")) == str(tmp_path)


def test_a_changed_table_is_noticed(tmp_path: Path) -> None:
    """Files that stand elsewhere now are written there; the old ones are no longer looked for."""
    project = Project(tmp_path / "tree", stub=False)
    project.write("specs/llama.yaml", "name: llama\n")
    project.write(INDEX, project.read(INDEX).replace("| Model | Text |\n|---|---|", "| a | b | c | d |\n|-|-|-|-|"))
    assert project.run("apply").code == 0 and project.run("check").out == "clean\n"
    project.write("pyproject.toml", '[tool.codegen]\nexamples = "recipes"\n')
    check = project.run("check")
    assert check.code == 1 and "recipes/llm_finetune/llama/llama.yaml: would be created" in check.out
    project.write("pyproject.toml", '[tool.codegen]\nexample = "recipes"\n')
    check = project.run("check")
    assert check.code == 2 and "[tool.codegen] example: is not known" in check.err


def test_a_check_that_is_settled_reads_no_toml(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    code = "import sys; from codegen.cli import main; code = main(); print('tomllib' in sys.modules)"

    def said(*arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert said("init", "--package", "mine.models") == "True"
    assert said("apply") == "True"
    said("check")
    assert said("check") == "False"


def test_an_entry_that_leads_to_no_file_is_others_in_a_shared_tree(tmp_path: Path) -> None:
    project = Project(tmp_path / "tree")
    entry = '("GoneForCausalLM", ("nemo_automodel.components.models.gone.model", "GoneForCausalLM"))'
    text = project.read(REGISTRY).replace("OrderedDict([])", f"OrderedDict(\n    [\n        {entry},\n    ]\n)")
    project.write(REGISTRY, text)
    project.write("pyproject.toml", '[tool.codegen]\nlayout = "nemo_automodel"\n')
    assert project.run("apply").code == 0 and project.read(REGISTRY) == text
    project.write("pyproject.toml", "")
    assert project.run("apply").code == 0 and "Gone" not in project.read(REGISTRY)
