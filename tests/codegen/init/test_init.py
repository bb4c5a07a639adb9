"""`codegen init` on projects of every shape: what it adds, what it leaves, what it refuses."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from codegen import __version__
from codegen.errors import CodegenError
from codegen.init import hook, project
from codegen.init.starting import init

HOOK = hook.entry(["specs/"])
TAKEN = ("json", "nemo_automodel", "automodel_layers", "codegen")
EXISTING = [
    "repos:\n- repo: local\n  hooks:\n  - id: a\n    name: a\n    entry: a\n    language: system\n",
    "repos:\n  - repo: https://example.org/a\n    rev: v1\n    hooks: [{id: a}]  # flow\n# behind\nfail_fast: true\n",
    "fail_fast: true\nrepos:\n    - repo: local\n      hooks:\n          - id: a\n            name: a\n"
    "            entry: |\n              echo\n              echo\n            language: system",
    "---\n# head\nrepos:\n  - repo: local\n    hooks:\n      - {id: a, name: a, entry: a, language: system}\n\n# end\n",
]


@pytest.mark.parametrize("text", EXISTING)
def test_the_hook_joins_others(text: str) -> None:
    made = hook.with_hook(text, HOOK)
    assert made is not None
    before, after = yaml.safe_load(text), yaml.safe_load(made)
    assert after == {**before, "repos": [*before["repos"], *yaml.safe_load(HOOK)]}
    ours = [line.strip() for line in HOOK.splitlines()]
    kept = [line for line in made.splitlines() if line.strip() not in ours]
    assert kept == [line for line in text.splitlines() if line.strip() not in ours]
    assert hook.has_hook(made) and not hook.has_hook(text)


@pytest.mark.parametrize("text", ["", "\n"])
def test_the_hook_begins_a_file(text: str) -> None:
    assert yaml.safe_load(hook.with_hook(text, HOOK) or "") == {"repos": yaml.safe_load(HOOK)}


@pytest.mark.parametrize(
    "text", ["repos: []\n", "repos: [{repo: local, hooks: []}]\n", "a: 1\n", "- repos\n", "repos: {\n", "# only\n"]
)
def test_a_file_of_another_shape_is_left_and_said(text: str, tmp_path: Path) -> None:
    (tmp_path / hook.FILE).write_text(text)
    started = init(str(tmp_path), "mine.models", None, "specs")
    assert (tmp_path / hook.FILE).read_text() == text
    assert any("add to its `repos`" in note and "id: codegen" in note for note in started.notes)


def test_a_hook_that_is_there_stays_alone(tmp_path: Path) -> None:
    text = "repos:\n  - repo: https://example.org/codegen\n    rev: v1\n    hooks:\n      - id: codegen\n"
    (tmp_path / hook.FILE).write_text(text)
    assert hook.FILE not in init(str(tmp_path), "mine.models", None, "specs").wrote
    assert (tmp_path / hook.FILE).read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[project]\nname = 'a'  # no newline at the end",
        "[project]\r\nname = 'a'\r\nversion = '1'\r\n",
        "[tool.black]\nline-length = 100\n\n[tool.other]\nx = 1\n",
        '[project]\nname = "a"\n[project.entry-points.x]\ny = "z"\n',
    ],
)
def test_the_rest_of_the_project_stays_byte_for_byte(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(text.encode())
    init(str(tmp_path), "mine.models", None, "specs")
    made = (tmp_path / "pyproject.toml").read_bytes().decode()
    assert made.startswith(text)
    tables = tomllib.loads(made)
    assert tables["tool"]["codegen"]["package"] == "mine.models"
    points = tables.get("project", {}).get("entry-points", {})
    assert ("project" in tables) == (points.get("nemo_automodel.registries") == {"mine": "mine.models.registry"})


def test_a_project_with_points_in_one_line_is_told(tmp_path: Path) -> None:
    text = '[project]\nname = "a"\nentry-points = {x = {y = "z"}}\n'
    (tmp_path / "pyproject.toml").write_text(text)
    said = init(str(tmp_path), "mine.models", None, "specs").notes
    (note,) = (note for note in said if "cannot be appended" in note)
    assert 'mine = "mine.models.registry"' in note and "register(" in note


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({"pyproject.toml": "[tool.codegen]\n"}, {}, "has a table .tool.codegen. already"),
        ({"pyproject.toml": "[tool]\ncodegen = {package = 'x'}\n"}, {}, "has a table .tool.codegen. already"),
        ({"pyproject.toml": "tool = {black = {}}\n"}, {}, "cannot be appended to it; write it by hand"),
        ({"pyproject.toml": "[project\n"}, {}, "correct it first"),
        ({"specs/api.yaml": "openapi: 3\n"}, {}, "specs/ holds api.yaml already.*--specs"),
        ({}, {"package": "mine-models"}, "is no dotted name"),
        ({}, {"layout": "nemo_automodel"}, "is of trees that have nemo_automodel/_transformers/registry.py"),
        ({}, {"specs": "../x"}, "is no plain path"),
        ({}, {"package": "class.models"}, "is no dotted name"),
        ({}, {"package": "mïne.models"}, "is no dotted name"),
        *(({}, {"package": f"{top}.models"}, f"{top} is the name of .* my_{top}.models") for top in TAKEN),
        ({"pyproject.toml": "[project]\nname = 'yaml'\n"}, {"package": None}, "yaml is the name of .*--package"),
    ],
)
def test_what_is_in_the_way_is_told_and_nothing_written(
    files: dict[str, str], arguments: dict[str, str], message: str, tmp_path: Path
) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    options = {"package": "mine.models", "layout": None, "specs": "specs", **arguments}
    with pytest.raises(CodegenError, match=message):
        init(str(tmp_path), **options)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(files)


def test_a_package_that_stands_there_may_be_installed_too(tmp_path: Path) -> None:
    (tmp_path / "src/yaml").mkdir(parents=True)
    assert "src/yaml/models/registry.py" in init(str(tmp_path), "yaml.models", None, "specs").wrote


def test_editors_find_the_schema_that_specs_name(tmp_path: Path) -> None:
    init(str(tmp_path), "mine.models", None, "architectures")
    first = (tmp_path / "architectures/my_llama.yaml").read_text().splitlines()[0]
    assert json.loads((tmp_path / "architectures" / first.partition("$schema=")[2]).read_text())["title"]


def test_below_the_root_of_a_repository_the_hook_is_told(tmp_path: Path) -> None:
    """pre-commit reads the file at the root alone."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "part.s/one two").mkdir(parents=True)
    started = init(str(tmp_path / "part.s/one two"), "mine.models", None, "specs")
    assert not any(hook.FILE in path for path in started.wrote)
    (note,) = (note for note in started.notes if "lies in a repository" in note)
    assert note.startswith("part.s/one two/ lies in")
    ((told,),) = (entry["hooks"] for entry in yaml.safe_load(note.partition("\n")[2]))
    assert told["entry"].endswith("--exit-non-zero-on-change --root 'part.s/one two'")
    assert re.search(told["files"], "part.s/one two/specs/a.yaml") and not re.search(told["files"], "specs/a.yaml")
    assert not re.search(told["files"], "part_s/one two/specs/a.yaml")


def test_files_that_people_have_stay(tmp_path: Path) -> None:
    (tmp_path / "src/mine").mkdir(parents=True)
    (tmp_path / "src/mine/__init__.py").write_text("x = 1\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\n')
    started = init(str(tmp_path), None, None, "specs")
    assert (tmp_path / "src/mine/__init__.py").read_text() == "x = 1\n"
    assert "src/mine/models/registry.py" in started.wrote, "the package lies in src, and is called as the project is"


def test_the_hook_installs_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def __init__(self, origin: object) -> None:
            self.origin = origin

        def read_text(self, name: str) -> str | None:
            return json.dumps(self.origin) if self.origin else None

    git = {"url": "https://example.org/a", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    folder, version = {"url": "file:///a", "dir_info": {}}, f"automodel-codegen=={__version__}"
    commit = "automodel-codegen @ git+https://example.org/a@abc"
    for origin, wanted, local in ((None, version, False), (folder, version, True), (git, commit, False)):
        monkeypatch.setattr(hook, "distribution", lambda name, origin=origin: Installed(origin))
        assert (hook.requirement(), hook.is_of_this_machine()) == (wanted, local)


NAMES, TEXTS = st.from_regex("[a-z]{1,3}", fullmatch=True), st.text('abc"\\# []', max_size=3)


@given(st.dictionaries(NAMES, st.integers() | TEXTS, max_size=3))
def test_any_project_takes_a_table(values: dict[str, object]) -> None:
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items() if key != "tool")
    made = project.with_table(text, ("tool", "codegen"), {"package": "a", "docs": False})
    assert made.startswith(text)
    assert tomllib.loads(made) == {**tomllib.loads(text), "tool": {"codegen": {"package": "a", "docs": False}}}
