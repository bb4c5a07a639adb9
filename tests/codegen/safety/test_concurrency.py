"""Two runs at once, and a person who edits while a run is under way."""

import time
from pathlib import Path

from tests.codegen.scratch.project import Project

MODEL = "nemo_automodel/components/models/llama/model.py"


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


def test_second_apply_waits_says_so_and_works(tmp_path: Path) -> None:
    project, gate = Project(tmp_path / "tree"), tmp_path / "gate"
    project.spec("llama")
    first = project.start("apply", pause=["rename", MODEL, str(gate)])
    wait_for(tmp_path / "gate.reached")
    project.spec("qwen")
    second = project.start("apply")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    assert second.poll() is None
    gate.touch()
    assert first.communicate(timeout=60) and first.returncode == 0
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0 and "qwen/model.py: created" in out
    assert project.run("check", "--no-cache").code == 0


def test_edit_between_reading_and_commit_is_not_lost(tmp_path: Path) -> None:
    project, gate = Project(tmp_path / "tree"), tmp_path / "gate"
    project.spec("llama")
    assert project.run("apply").code == 0
    project.spec("llama", "changed")
    # The stage is made after everything was read and before the first file is replaced.
    run = project.start("apply", pause=["mkdir", ".codegen/stage", str(gate)])
    wait_for(tmp_path / "gate.reached")
    project.write(MODEL, "mine = True\n")
    gate.touch()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 3 and "changed while codegen ran" in err
    assert project.read(MODEL) == "mine = True\n"
    assert "hello" in project.read("docs/model-coverage/llm/llama.md")


def test_journal_of_a_killed_run_does_not_overwrite_a_later_edit(tmp_path: Path) -> None:
    project = Project(tmp_path / "tree")
    project.spec("llama")
    assert project.run("apply").code == 0
    project.spec("llama", "changed")
    child = project.start("apply", pause=["rename", MODEL, str(tmp_path / "gate")])
    wait_for(tmp_path / "gate.reached")
    child.kill()
    child.communicate()
    assert (project.root / ".codegen/journal").exists()
    checked = project.run("check")
    assert checked.code == 1 and "interrupted" in checked.err
    project.write(MODEL, "mine = True\n")
    result = project.run("apply")
    assert result.code == 3 and "left as it is" in result.err
    assert project.read(MODEL) == "mine = True\n"
    assert "changed" in project.read("docs/model-coverage/llm/llama.md")


def test_spec_that_changes_while_it_is_read_is_not_remembered_wrongly(tmp_path: Path) -> None:
    project, gate = Project(tmp_path / "tree"), tmp_path / "gate"
    spec = project.spec("llama", "first")
    # The clock is read when the run starts; the listing and the digests of specs come after it.
    run = project.start("apply", pause=["mkdir", ".codegen/cache/specs", str(gate)])
    wait_for(tmp_path / "gate.reached")
    project.spec("llama", "second")
    gate.touch()
    run.communicate(timeout=60)
    spec.write_text("name: llama\nsecond\n")
    assert project.run("apply").code == 0
    assert "second" in project.read(MODEL)
    assert project.run("check", "--no-cache").code == 0
