"""The hook under a real pre-commit, in a scratch git repository without network."""

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.codegen.scratch.project import INDEX, REGISTRY, REGISTRY_TEXT, REPOSITORY, Project, environment

SPEC = "name: llama\nsummary: Hello.\n"
MODEL = "nemo_automodel/components/models/llama/model.py"
RUN = "import sys; from codegen.cli import main; sys.exit(main())"
INDEX_PAGE = """\
<!-- codegen: rows begin -->
| Model | Architecture | Features | Example |
|---|---|---|---|
<!-- codegen: rows end -->
"""


def hook() -> dict[str, object]:
    """This repository's own hook, run from here instead of from an environment that pre-commit would build."""
    offered, _ = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text())
    command = [sys.executable, "-c", RUN, *shlex.split(offered["entry"])[1:]]
    return offered | {"entry": shlex.join(command), "language": "system"}


def git(root: Path, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    names = {f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    names |= {"PRE_COMMIT_HOME": str(root.parent / "pre-commit")}
    command = ["git", "-c", "init.defaultBranch=main", *arguments]
    done = subprocess.run(command, cwd=root, env=environment(**names), capture_output=True, text=True, check=False)
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def repository(tmp_path: Path) -> Project:
    """A committed, applied tree with pre-commit installed."""
    project = Project(tmp_path / "tree", stub=False)
    project.write(REGISTRY, REGISTRY_TEXT)
    project.write(INDEX, INDEX_PAGE)
    project.write("specs/llama.yaml", SPEC)
    project.write(".gitignore", "__pycache__/\n")
    config = {"repos": [{"repo": "local", "hooks": [hook()]}]}
    project.write(".pre-commit-config.yaml", yaml.safe_dump(config))
    git(project.root, "init")
    assert project.run("apply").code == 0
    git(project.root, "add", ".")
    git(project.root, "commit", "-m", "start")
    executable = shutil.which("pre-commit", path=str(Path(sys.executable).parent)) or "pre-commit"
    subprocess.run([executable, "install"], cwd=project.root, env=environment(), check=True, capture_output=True)
    return project


def test_state_stays_out_of_git(repository: Project) -> None:
    assert (repository.root / ".codegen/state").exists()
    assert git(repository.root, "status", "--porcelain").stdout == ""


def test_changed_spec_regenerates_and_fails_the_commit_once(repository: Project) -> None:
    repository.write("specs/llama.yaml", SPEC + "norm: {eps: 1e-3}\n")
    git(repository.root, "add", ".")
    first = git(repository.root, "commit", "-m", "change", code=1)
    assert f"{MODEL}: updated" in first.stdout + first.stderr
    assert "0.001" in repository.read(MODEL)
    git(repository.root, "add", ".")
    git(repository.root, "commit", "-m", "change")
    assert git(repository.root, "status", "--porcelain").stdout == ""


def test_hand_edit_of_a_generated_file_fails_the_commit(repository: Project) -> None:
    repository.write(MODEL, repository.read(MODEL) + "x = 1\n")
    git(repository.root, "add", ".")
    refused = git(repository.root, "commit", "-m", "edit", code=1)
    assert "edited by hand" in refused.stdout + refused.stderr
    assert repository.read(MODEL).endswith("x = 1\n")


def test_invalid_spec_fails_the_commit_with_its_place(repository: Project) -> None:
    repository.write("specs/llama.yaml", SPEC + "attention: {kind: gqaa}\n")
    git(repository.root, "add", ".")
    refused = git(repository.root, "commit", "-m", "break", code=1)
    assert "specs/llama.yaml:3:" in refused.stdout + refused.stderr


def test_untouched_tree_takes_next_to_no_time(repository: Project) -> None:
    """The hook's own command, without pre-commit around it; the least of some runs, as the machine may be busy."""
    command = [sys.executable, "-c", RUN, "apply", "--exit-non-zero-on-change"]
    times: list[float] = []
    for _ in range(15):
        start = time.perf_counter()
        subprocess.run(command, cwd=repository.root, env=environment(), check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    assert min(times) <= 0.060
