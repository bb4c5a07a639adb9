"""A run that dies, or whose disk refuses, at any step: the tree is old or new, or the next run makes it new."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.codegen.scratch.project import REPOSITORY, Project, environment


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is one: a sweep makes thousands of files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def before(scratch: Path) -> Project:
    """A tree in which `apply` has to create, update, delete, drop a package and edit both files that people own."""
    project = Project(scratch / "before")
    project.spec("kept", "one")
    project.spec("gone")
    assert project.run("apply").code == 0
    cache = project.root / "nemo_automodel/components/models/gone/__pycache__"
    cache.mkdir()
    (cache / "model.cpython-311.pyc").write_bytes(b"")
    project.spec("kept", "two config")
    project.spec("new")
    (project.root / "specs/gone.yaml").unlink()
    return project


def sweep(before: Project, scratch: Path, fault: dict[str, Any], *options: str) -> list[dict[str, Any]]:
    wanted = {"stub": True, "sweep": str(before.root), "scratch": str(scratch), "fault": fault}
    command = [sys.executable, "-m", "tests.codegen.scratch.driver", json.dumps(wanted), "apply", *options]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True)
    records: list[dict[str, Any]] = json.loads(done.stdout)
    operations = {record["step"].split()[1] for record in records}
    assert operations == {"open", "fsync", "rename", "link", "remove", "mkdir", "rmdir"}, "a kind of step is not tried"
    return records


def test_sigkill_at_every_step_leaves_old_new_or_a_journal(before: Project, scratch: Path) -> None:
    records = sweep(before, scratch, {"kill": "step"})
    assert {record["exit"] for record in records[:-8]} == {-9}, "a run outlived its kill (its tail waits for the clock)"
    assert [record for record in records if record["tree"] == "mixed" and not record["journal"]] == []
    assert any(record["tree"] == "mixed" for record in records), "no kill hit the middle of a commit"
    assert_second_run_finishes(records)


def test_one_failing_step_leaves_old_or_new(before: Project, scratch: Path) -> None:
    records = sweep(before, scratch, {"fail": ["step", "step", errno.ENOSPC]})
    assert {record["exit"] for record in records} <= {0, 2}
    assert [record for record in records if record["tree"] == "mixed"] == []
    assert [record for record in records if record["exit"] == 0 and record["tree"] != "new"] == []
    assert_second_run_finishes(records)


def test_a_disk_that_fills_up_leaves_old_or_new(before: Project, scratch: Path) -> None:
    fault = {"fail": ["step", 9999, errno.ENOSPC], "only": ["open", "mkdir", "link", "fsync"]}
    records = sweep(before, scratch, fault, "--no-cache")
    assert [record for record in records if record["tree"] == "mixed"] == []
    assert_second_run_finishes(records)


def test_a_disk_that_turns_read_only_leaves_old_new_or_a_journal(before: Project, scratch: Path) -> None:
    records = sweep(before, scratch, {"fail": ["step", 9999, errno.EROFS]}, "--no-cache")
    assert [record for record in records if record["tree"] == "mixed" and not record["journal"]] == []
    assert_second_run_finishes(records)


def assert_second_run_finishes(records: list[dict[str, Any]]) -> None:
    wrong = [
        record
        for record in records
        if (record["again"], record["tree again"], record["folders again"], record["left again"])
        != (0, "new", True, [])
    ]
    assert wrong == []
