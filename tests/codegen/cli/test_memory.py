"""What runs remember: never wrong, whatever happens to it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from codegen.memory import last_run
from codegen.memory.formatted import FormatCache
from codegen.memory.store import Store
from codegen.run.sources import generator_files
from tests.codegen.scratch.project import INDEX, REGISTRY, REPOSITORY, Project, environment

MODEL = "nemo_automodel/components/models/llama/model.py"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.applied(tmp_path / "tree")
    assert last_run.unchanged(str(made.root))
    return made


def modules_of_check(project: Project, *arguments: str, **variables: str) -> set[str]:
    code = (
        "import sys; before = set(sys.modules); from codegen.cli import main;"
        "sys.argv = ['codegen', 'check', *sys.argv[1:]];"
        "code = main(); print('\\n'.join(set(sys.modules) - before)); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "--root", str(project.root), *arguments]
    environ = environment(**variables)
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_check_with_nothing_to_do_imports_next_to_nothing(project: Project) -> None:
    assert modules_of_check(project) - {"clean"} == {
        "gc",
        "codegen",
        "codegen.cli",
        "codegen.memory",
        "codegen.memory.last_run",
        "codegen.layout",
    }


@pytest.mark.parametrize(
    ("arguments", "variables"), [(["--no-cache"], {}), ([], {"CI": "true"}), (["--json", "--no-cache"], {})]
)
def test_ci_and_no_cache_check_everything(project: Project, arguments: list[str], variables: dict[str, str]) -> None:
    for entry in (project.root / "specs").iterdir():
        entry.unlink()
    project.run("apply")
    assert "codegen.run.pipeline" in modules_of_check(project, *arguments, **variables)


@pytest.mark.parametrize("path", [MODEL, "specs/llama.yaml", REGISTRY, INDEX, "docs/model-coverage/llm/llama.md"])
def test_any_edit_is_noticed(project: Project, path: str) -> None:
    project.write(path, project.read(path) + "\n")
    assert not last_run.unchanged(str(project.root))


def test_new_and_removed_files_are_noticed(project: Project) -> None:
    for path in ("specs/new.yaml", "nemo_automodel/components/models/llama/extra.py"):
        added = project.write(path, "x\n")
        assert not last_run.unchanged(str(project.root)), path
        added.unlink()
        project.run("check")
    (project.root / MODEL).unlink()
    assert not last_run.unchanged(str(project.root))


def test_edit_of_equal_size_and_time_is_noticed_by_its_inode(project: Project) -> None:
    target = project.root / MODEL
    stat, text = target.stat(), target.read_text()
    target.with_suffix(".tmp").write_text(text.replace("hello", "HELLO"))
    os.replace(target.with_suffix(".tmp"), target)
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert project.run("check").code == 3


def test_edit_in_place_with_restored_size_and_time_is_noticed_by_its_change_time(project: Project) -> None:
    for path in (MODEL, "specs/llama.yaml"):
        target = project.root / path
        stat, text = target.stat(), target.read_text()
        target.write_text(text.replace("hello", "HELLO"))
        os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert target.stat().st_ino == stat.st_ino and not last_run.unchanged(str(project.root))
        target.write_text(text)
        assert project.run("check").code == 0


def test_file_that_is_not_older_than_the_state_is_compared_by_content(project: Project) -> None:
    """An edit within one tick of the clock keeps size, time and inode; a time in the future stands for that tick."""
    target, future = project.root / MODEL, 4_000_000_000 * 10**9
    os.utime(target, ns=(future, future))
    assert project.run("check").code == 0
    assert last_run.unchanged(str(project.root))
    text = target.read_text()
    target.write_text(text.replace("hello", "HELLO"))
    os.utime(target, ns=(future, future))
    assert not last_run.unchanged(str(project.root))
    assert project.run("check").code == 3


def test_apply_leaves_a_state_for_the_next_run(project: Project) -> None:
    project.spec("llama", "changed")
    project.spec("new")
    assert project.run("apply").code == 0
    assert last_run.unchanged(str(project.root))
    for name in ("llama", "new"):
        (project.root / f"specs/{name}.yaml").unlink()
    assert project.run("apply").code == 0
    assert last_run.unchanged(str(project.root))


def test_drift_and_conflicts_leave_no_state(project: Project) -> None:
    project.spec("llama", "changed")
    project.run("check")
    assert not last_run.unchanged(str(project.root))


@pytest.mark.parametrize("damage", ["", "codegen state 1", "\x00" * 100, "cut", "flipped"])
def test_damaged_state_is_not_trusted(project: Project, damage: str) -> None:
    state = project.root / ".codegen/state"
    text = state.read_text()
    state.write_text({"cut": text[: len(text) // 2], "flipped": text.replace("f 1", "f x")}.get(damage, damage))
    assert not last_run.unchanged(str(project.root))
    assert project.run("check").code == 0
    assert last_run.unchanged(str(project.root))


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_damaged_memory_is_rebuilt(project: Project, damage: bytes | None) -> None:
    for file in (project.root / ".codegen/cache").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(b"hello", b"hullo") if damage is None else damage)
    (project.root / ".codegen/state").unlink()
    assert project.run("check").code == 0


def test_store_survives_what_stands_in_its_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(str(tmp_path / "file" / "below"))
    store.put("key", b"content")
    assert store.get("key") is None
    store.prune(set(), 0)


def test_store_prunes_the_oldest_that_are_not_in_use(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in range(5):
        store.put(str(number), b"")
        os.utime(tmp_path / str(number), (number, number))
    store.prune({"0"}, spare=2)
    assert sorted(os.listdir(tmp_path)) == ["0", "3", "4"]


def test_formatting_is_remembered_across_runs_by_source_and_mode(tmp_path: Path) -> None:
    calls: list[str] = []

    def shout(sources: Sequence[str]) -> list[str]:
        calls.extend(sources)
        return [source.upper() for source in sources]

    first = FormatCache(Store(str(tmp_path)))
    assert [first.formatted("a", shout, "m"), first.formatted("aa", shout, "m")] == [["A"], ["A", "A"]]
    other = FormatCache(Store(str(tmp_path)))
    other.formatted("b", shout, "m")
    first.flush()
    other.flush()
    later = FormatCache(Store(str(tmp_path)))
    assert later.formatted("ab", shout, "m") == ["A", "B"]
    assert calls == ["a", "b"]
    later.formatted("a", shout, "another mode")
    assert calls == ["a", "b", "a"]


def test_two_cold_runs_at_once_agree(tmp_path: Path) -> None:
    project = Project(tmp_path / "tree")
    for number in range(5):
        project.spec(f"model{number}")
    runs = [project.start("apply") for _ in range(3)]
    for run in runs:
        run.communicate(timeout=60)
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert project.run("check", "--no-cache").code == 0


def test_every_file_of_the_generator_is_one_that_output_depends_on() -> None:
    package = REPOSITORY / "codegen"
    files = {str(path) for path in package.rglob("*") if path.suffix in (".py", ".json", ".yaml")}
    assert files == {path for path in generator_files() if path.startswith(f"{package}/")}
    assert str(package / "templates/model.py") in files
