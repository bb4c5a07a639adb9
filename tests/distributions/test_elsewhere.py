"""From nothing to a loaded model in repositories of other people, with the built wheels and without network."""

import shutil
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.distributions import elsewhere, installing
from tests.distributions.elsewhere import Repository


@pytest.fixture(scope="module")
def python(wheels, tmp_path_factory):
    """An environment with all wheels, and torch and the rest from the one that runs this."""
    made = installing.environment(tmp_path_factory.mktemp("elsewhere") / "venv", shared=True)
    own = [str(path) for name, path in wheels.items() if name.startswith("automodel")]
    installing.pip("--python", str(made), "install", "--no-deps", *own)
    return made


def begun(root: Path, python: Path, wheelhouse: Path, files: dict[str, str]) -> Repository:
    """A committed repository with these files."""
    root.mkdir()
    repository = Repository(root, python, wheelhouse)
    for path, text in files.items():
        repository.write(path, text)
    repository.write(".gitignore", "__pycache__/\n*.egg-info/\n")
    repository.git("init")
    repository.git("add", ".")
    repository.git("commit", "-m", "start")
    return repository


@pytest.fixture(scope="module")
def user(python, wheelhouse, tmp_path_factory):
    """A repository with nothing of ours, in which `codegen init` ran."""
    files = {"pyproject.toml": elsewhere.PYPROJECT, ".pre-commit-config.yaml": elsewhere.PRE_COMMIT}
    repository = begun(tmp_path_factory.mktemp("user") / "tree", python, wheelhouse, files)
    repository.said = repository.codegen("init", "--package", "mine.models")
    return repository


@pytest.fixture(scope="module")
def hand(python, wheelhouse, tmp_path_factory):
    """A tree of the hand-written library's shape, in which `codegen init` ran."""
    repository = begun(tmp_path_factory.mktemp("hand") / "tree", python, wheelhouse, elsewhere.HAND)
    repository.said = repository.codegen("init", "--layout", "nemo_automodel")
    return repository


def commits(repository: Repository) -> None:
    """Under pre-commit: all that was written is committed; a changed spec fails the first commit and not the second."""
    pre_commit = shutil.which("pre-commit", path=str(Path(sys.executable).parent)) or "pre-commit"
    repository.run(pre_commit, "install")
    repository.git("add", ".")
    repository.git("commit", "-m", "generated")
    repository.write("specs/my_llama.yaml", repository.read("specs/my_llama.yaml") + "norm: {eps: 1e-3}\n")
    repository.git("add", ".")
    assert "my_llama/model.py: updated" in repository.git("commit", "-m", "change", code=1)
    repository.git("add", ".")
    repository.git("commit", "-m", "change")
    assert repository.git("status", "--porcelain") == ""


def passes_its_tests(repository: Repository, folder: str, *chosen: str) -> None:
    """The generated tests, with nothing but the installed suite."""
    said = repository.run(repository.python, "-m", "pytest", "-q", "-m", "not full", *chosen, folder)
    assert " passed" in said and " failed" not in said


def test_init_says_what_it_wrote_and_keeps_the_rest(user):
    assert "specs/my_llama.yaml: written" in user.said and "next: `codegen apply`" in user.said
    assert user.git("show", "HEAD:pyproject.toml") == elsewhere.PYPROJECT
    assert user.read("pyproject.toml").startswith(elsewhere.PYPROJECT)
    before, end = elsewhere.PRE_COMMIT[:-10], elsewhere.PRE_COMMIT[-10:]
    hooks = user.read(".pre-commit-config.yaml")
    assert hooks.startswith(before) and hooks.endswith(end) and "id: codegen" in hooks
    assert "has a table [tool.codegen] already" in user.codegen("init", code=2)


def test_a_user_generates_tests_commits_and_loads(user):
    drafted = user.codegen("new", user.checkpoint(), "--draft", "--name", "ours")
    assert "Nearest: the library's qwen3.yaml" in drafted and "Wrote: specs/ours.yaml" in drafted
    user.codegen("apply")
    assert "clean" in user.codegen("check")
    passes_its_tests(user, "tests/models/ours")
    commits(user)
    installing.pip("--python", str(user.python), "install", "--no-deps", "--no-build-isolation", "-e", str(user.root))
    code = elsewhere.LOADS.format(library="nemo_automodel")
    loaded = user.run(user.python, "-c", code, user.checkpoint(), "Qwen3ForCausalLM")
    assert loaded.splitlines()[-1] == "mine.models.ours.model"
    review = user.codegen("review", "--base", "HEAD~1")
    assert "| `my_llama` | changed |" in review and "| `norm.eps` |" in review


def test_images_over_a_text_of_the_library(user):
    lines = ("name: our_llava", "architecture: OurLlava", "config: transformers:LlavaConfig", "text: llama")
    user.write("specs/our_llava.yaml", "\n".join(lines) + "\n")
    assert "mine/models/our_llava/model.py: created" in user.codegen("apply")
    model = user.read("mine/models/our_llava/model.py")
    assert "from nemo_automodel.components.models.llama.model import LlamaModel" in model
    code = "from mine.models.our_llava import OurLlava; print(OurLlava.text_class)"
    user.run(user.python, "-c", code)
    assert "our_llava" in user.codegen("list") and "my_llama" in user.codegen("explain", "our_llava", "text")
    assert "is yours now" in user.codegen("eject", "our_llava")


def test_a_tree_of_the_hand_written_library(hand):
    registry = elsewhere.HAND["nemo_automodel/_transformers/registry.py"]
    hand.codegen("apply")
    made = hand.read("nemo_automodel/_transformers/registry.py")
    added = (
        '        ("MyLlamaForCausalLM", ("nemo_automodel.components.models.my_llama.model", "MyLlamaForCausalLM")),\n'
    )
    assert made.count(added) == 1 and made.replace(added, "") == registry
    assert hand.read("docs/model-coverage/llm/index.md") == elsewhere.HAND["docs/model-coverage/llm/index.md"]
    assert "from automodel_layers." in hand.read("nemo_automodel/components/models/my_llama/model.py")
    passes_its_tests(hand, "tests/unit_tests/models/my_llama", "-k", "from_pretrained or equals_the_reference")
    commits(hand)
    assert "| `my_llama` | changed |" in hand.codegen("review", "--base", "HEAD~1")
    assert "Nearest: the library's qwen3.yaml" in hand.codegen("new", hand.checkpoint(), "--draft", "--stdout")
    code = elsewhere.LOADS.format(library="nemo_automodel")
    config = hand.root.parent / "config.json"
    config.write_text('{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1}')
    for name, package in (("MyLlamaForCausalLM", "my_llama"), ("HandForCausalLM", "hand")):
        loaded = hand.run(hand.python, "-c", code, config, name)
        assert loaded.splitlines()[-1] == f"nemo_automodel.components.models.{package}.model"
    hand.run("rm", "specs/my_llama.yaml")
    hand.codegen("apply")
    assert hand.read("nemo_automodel/_transformers/registry.py") == registry


def test_the_hook_of_this_repository_installs_elsewhere(python, wheelhouse, tmp_path):
    """`pip install .` at the root, in an environment of pre-commit's own."""
    source = Repository(installing.sources(tmp_path / "source"), python, wheelhouse)
    source.git("init")
    source.git("add", ".")
    source.git("commit", "-m", "release")
    hooks = [{"id": "codegen"}, {"id": "codegen-check"}]
    revision = source.git("rev-parse", "HEAD").strip()
    config = yaml.safe_dump({"repos": [{"repo": str(source.root), "rev": revision, "hooks": hooks}]})
    repository = begun(tmp_path / "tree", python, wheelhouse, {".pre-commit-config.yaml": config})
    repository.codegen("init", "--package", "theirs.models")
    repository.codegen("apply")
    repository.git("add", ".")
    pre_commit = shutil.which("pre-commit", path=str(Path(sys.executable).parent)) or "pre-commit"
    start = time.perf_counter()
    assert repository.run(pre_commit, "run", "--all-files").count("Passed") == 2
    print(f"the hook, installed and run: {time.perf_counter() - start:.1f} s")
