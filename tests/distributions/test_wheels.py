"""Two distributions: the generator, which is light, and the library, which needs that one."""

import re
import subprocess
import sys
import time
import zipfile

import pytest

import codegen
from tests.distributions import installing

HEAVY = ("torch", "transformers", "safetensors", "accelerate", "numpy", "nemo_automodel")
MEGABYTES, SECONDS = 60, 30


@pytest.fixture(scope="module")
def light(wheelhouse, tmp_path_factory):
    """An interpreter with the generator and nothing else, and how many seconds its installation took."""
    python = installing.environment(tmp_path_factory.mktemp("light") / "venv", shared=False)
    start = time.perf_counter()
    installing.pip("--python", str(python), "install", "--find-links", str(wheelhouse), "automodel-codegen")
    return python, time.perf_counter() - start


def test_the_generator_is_light(light, record_property):
    python, seconds = light
    folder = python.parents[1]
    megabytes = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_symlink()) / 1e6
    print(f"automodel-codegen: {megabytes:.1f} MB in {seconds:.1f} s")
    record_property("megabytes", megabytes)
    record_property("seconds", seconds)
    assert megabytes <= MEGABYTES and seconds <= SECONDS


def test_the_generator_runs_alone(light, tmp_path):
    python, _ = light
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/tiny.yaml").write_text("name: llama\n")
    (tmp_path / "pyproject.toml").touch()
    command = [str(python), "-I", "-c", f"import sys; from codegen.commands import run; code = run({['check']!r}); "]
    command[-1] += f"print(sorted(set({HEAVY!r}) & set(sys.modules)), code)"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[] 2", done.stderr
    assert "specs/tiny.yaml:1:1: name" in done.stderr


def test_both_have_one_version_and_the_library_needs_that_generator(wheels):
    version = codegen.__version__
    assert {path.name.split("-")[1] for path in wheels.values() if path.name.startswith("automodel")} == {version}
    assert f"automodel-codegen=={version}" in installing.requirements(wheels["automodel_library"])


def test_each_holds_its_own(wheels):
    tops = {}
    for name, path in wheels.items():
        with zipfile.ZipFile(path) as archive:
            tops[name] = {entry.split("/")[0] for entry in archive.namelist()}
    assert {top for top in tops["automodel_codegen"] if ".dist-info" not in top} == {"codegen"}
    assert {top for top in tops["automodel_library"] if ".dist-info" not in top} == {"nemo_automodel"}


def test_the_library_has_no_archive_of_sources(tmp_path):
    command = [sys.executable, "setup.py", "-q", "sdist"]
    folder = installing.sources(tmp_path) / "library"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "build a wheel" in done.stderr


@pytest.mark.parametrize("theirs", [False, True], ids=["our __init__", "their __init__"])
def test_beside_nvidias_it_says_so(theirs, tmp_path):
    """Whichever of the two was installed last, and so has its `__init__.py` in place."""
    metadata = tmp_path / "nemo_automodel-0.2.0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: nemo-automodel\nVersion: 0.2.0\n")
    package = [f"{installing.REPOSITORY}/nemo_automodel"]
    code = f"import sys, types; sys.path.insert(0, {str(tmp_path)!r}); sys.path.insert(0, {str(package[0][:-15])!r})\n"
    if theirs:
        code += f"p = types.ModuleType('nemo_automodel'); p.__path__ = {package}; sys.modules['nemo_automodel'] = p\n"
        code += "import nemo_automodel.components.models.llama.model"
    else:
        code += "import nemo_automodel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search("nemo-automodel 0.2.0 are both installed.*pip uninstall", done.stderr), done.stderr
