"""One folder a feature: a spec, and the files that it must become."""

import os
from pathlib import Path

import black
import pytest

from codegen.configs import ConfigTable
from codegen.language.check import read_spec
from codegen.language.loaded import config_class
from codegen.plan.model import build
from codegen.render.files import model_files

MODE = black.Mode(line_length=120, target_versions={black.TargetVersion.PY311})
CASES = Path(__file__).parent / "cases"
UPDATE = "UPDATE_GOLDEN=1 pytest tests/codegen/render/test_cases.py"


def files_of(case: Path) -> dict[str, str]:
    """The files of a case's spec, which is stored under a name that it does not have."""
    text = (case / "spec.yaml").read_text()
    name = text.split("name: ", 1)[1].split("\n", 1)[0]
    spec = read_spec_text(text, name)
    return model_files(build(spec, config_class(spec, ConfigTable())), lambda sources, format_all: format_all(sources))


def read_spec_text(text: str, name: str):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "specs", f"{name}.yaml")
        path.parent.mkdir()
        path.write_text(text)
        return read_spec(path, Path(folder))


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_a_spec_becomes_these_files(case):
    files = {name: text for name, text in files_of(case).items() if name != "__init__.py"}
    for name, text in files.items():
        golden = case / f"{name}.txt"
        if os.environ.get("UPDATE_GOLDEN"):
            golden.write_text(text)
        assert golden.exists(), f"no {golden.name}: write it with {UPDATE}"
        assert text == golden.read_text(), f"{case.name}/{name} differs: look at it, then {UPDATE}"
    assert {f"{name}.txt" for name in files} == {path.name for path in case.glob("*.txt")}


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_formatting_by_line_equals_black_on_the_whole_file(case):
    for name, text in files_of(case).items():
        assert black.format_str(text, mode=MODE) == text, name


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_generating_twice_gives_the_same(case):
    assert files_of(case) == files_of(case)
