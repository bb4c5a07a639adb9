"""Pipes, folders and leftovers where files should be: an answer at once, and no traceback."""

import os
from pathlib import Path

import pytest

from tests.codegen.scratch.project import INDEX, REGISTRY, Project, Result

MODEL = "nemo_automodel/components/models/llama/model.py"
PLACES = ("specs/llama.yaml", "specs/later", MODEL, os.path.dirname(MODEL), REGISTRY, INDEX, ".codegen")
STATE = ("state", "lock", "journal", "undo", "stage", "cache", "cache/specs", "cache/formatted", ".gitignore")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.applied(tmp_path / "tree")


def put(root: Path, path: str, kind: str) -> None:
    """Something that is no file, in place of what stood there."""
    target = root / path
    if target.exists():
        target.rename(root.parent / "away")
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(root.parent / "nowhere")


def answered(result: Result) -> None:
    assert "Traceback" not in result.err and result.code in (0, 1, 2, 3), result.err
    assert result.code < 2 or result.err.strip(), "refused without a word"


@pytest.mark.parametrize("kind", ["pipe", "folder", "broken link"])
@pytest.mark.parametrize("path", [*PLACES, *(f".codegen/{name}" for name in STATE)])
def test_what_is_no_file_is_told_at_once(project: Project, path: str, kind: str) -> None:
    put(project.root, path, kind)
    for command in ("check", "apply"):
        answered(project.run(command))


def test_every_entry_of_the_memory_may_be_a_pipe(project: Project) -> None:
    for file in [*(project.root / ".codegen/cache").rglob("*")]:
        if file.is_file():
            file.unlink()
            os.mkfifo(file)
    (project.root / ".codegen/state").unlink()
    assert project.run("check").code == 0


def test_leftovers_of_a_killed_run_go_with_the_next(project: Project) -> None:
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    state = project.root / ".codegen"
    left = [state / f"now.{gone}.tmp", state / f"state.{gone}.tmp", state / f"cache/specs/k.{gone}.tmp"]
    for file in left:
        file.write_text("")
    ours = state / f"state.{os.getpid()}.tmp"
    ours.write_text("")
    (state / "state").unlink()
    (state / "stage").mkdir()
    (state / "journal.tmp").write_text("")
    assert project.run("apply").code == 0
    assert not any(file.exists() for file in left) and ours.exists()
    assert not (state / "stage").exists() and not (state / "journal.tmp").exists()
