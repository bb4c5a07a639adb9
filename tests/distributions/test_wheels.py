"""The generator, which is light, and the library, which needs that one, under either of its names."""

import re
import subprocess
import sys
import time
import zipfile

import pytest

import codegen
from tests.distributions import installing
from tests.distributions.elsewhere import Repository

HEAVY = {"torch", "transformers", "safetensors", "accelerate", "numpy", "nemo_automodel"}
RUN = "import sys; from codegen.cli import main; sys.exit(main())"
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
    """In a repository without a library: it begins, plans, writes and checks, and imports nothing heavy."""
    python, _ = light
    repository = Repository(tmp_path, python, tmp_path)
    repository.codegen("init", "--package", "mine.models")
    repository.codegen("apply")
    assert (tmp_path / "mine/models/my_llama/model.py").is_file()
    code = f"{RUN.replace('sys.exit(main())', 'code = main()')}; print(sorted({HEAVY} & set(sys.modules)), code)"
    assert repository.run(python, "-c", code, "check", "--no-cache").splitlines() == ["clean", "[] 0"]


def test_a_check_there_takes_next_to_no_time(light, tmp_path):
    """With nothing changed, 25 ms without other work; here the least of some runs, as the machine may be busy."""
    python, _ = light
    repository = Repository(tmp_path, python, tmp_path)
    repository.codegen("init", "--package", "mine.models")
    repository.codegen("apply")
    times = []
    for _ in range(15):
        start = time.perf_counter()
        repository.run(python, "-c", RUN, "check")
        times.append(time.perf_counter() - start)
    print(f"codegen check in another repository, nothing changed: {1000 * min(times):.0f} ms")
    assert min(times) <= 0.060


def test_a_proof_says_how_to_install_what_it_needs_and_without_it_a_new_spec_is_a_draft(light, tmp_path):
    python, _ = light
    repository = Repository(tmp_path, python, tmp_path)
    repository.environment["PATH"] = f"{python.parent}:/usr/bin:/bin"
    repository.codegen("init", "--package", "mine.models")
    said = repository.codegen("parity", "my_llama", code=2)
    assert "needs the library `nemo_automodel`" in said and "pip install 'automodel-library[testing]'" in said
    drafted = repository.codegen("new", repository.checkpoint(), "--name", "drafted")
    assert "needs the library `nemo_automodel`" in drafted and "this is a draft" in drafted
    assert "# uncertain: " in repository.read("specs/drafted.yaml")


def test_both_have_one_version_and_the_library_needs_that_generator(wheels):
    version = codegen.__version__
    assert {path.name.split("-")[1] for path in wheels.values() if path.name.startswith("automodel")} == {version}
    assert f"automodel-codegen=={version}" in installing.requirements(wheels["automodel_library"])
    both = [sorted(installing.requirements(wheels[f"automodel_{name}"])) for name in ("library", "layers")]
    assert both[0] == both[1] and any("matplotlib" in one and "plots" in one for one in both[0])


def test_each_holds_its_own(wheels):
    tops = {}
    for name, path in wheels.items():
        with zipfile.ZipFile(path) as archive:
            tops[name] = {entry.split("/")[0] for entry in archive.namelist()}
    assert {top for top in tops["automodel_codegen"] if ".dist-info" not in top} == {"codegen"}
    assert {top for top in tops["automodel_library"] if ".dist-info" not in top} == {"nemo_automodel"}
    assert {top for top in tops["automodel_layers"] if ".dist-info" not in top} == {"automodel_layers"}


def test_each_library_has_its_own_command(wheels):
    commands = {"library": "automodel-finetune", "layers": "automodel-layers-finetune"}
    for name, package in (("library", "nemo_automodel"), ("layers", "automodel_layers")):
        with zipfile.ZipFile(wheels[f"automodel_{name}"]) as archive:
            (points,) = [one for one in archive.namelist() if one.endswith("/entry_points.txt")]
            assert f"{commands[name]} = {package}.recipes.launch:main" in archive.read(points).decode()


def test_the_layers_know_no_other_name(wheels):
    with zipfile.ZipFile(wheels["automodel_layers"]) as archive:
        sources = [archive.read(name) for name in archive.namelist() if name.endswith(".py")]
    assert len(sources) > 500 and not any(b"nemo_automodel" in source for source in sources)


@pytest.mark.parametrize("project", ["library", "layers"])
def test_the_library_has_no_archive_of_sources(project, tmp_path):
    command = [sys.executable, "setup.py", "-q", "sdist"]
    folder = installing.sources(tmp_path) / project
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
