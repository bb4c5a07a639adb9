"""Runs the real `codegen` command with faults: `python driver.py FAULTS ARGUMENTS...`.

FAULTS is JSON. Every operation that changes the tree below `root` is a step, counted from 1 before it happens:

- `stub`: use the stub generator
- `kill`: SIGKILL before this step
- `fail`: [first, last, errno]: these steps raise OSError
- `only`: names of operations that `fail` applies to; default all
- `pause`: [operation, end of path, file]: before that step, create `file`.reached and wait until `file` exists
- `weak`: drop root's right to ignore permissions
- `log`: file that receives one line per step

`sweep(...)` runs the command many times over copies of a tree, each in a forked child with another fault.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR


class Faults:
    """Counts the steps of this process, and does to them what was asked."""

    def __init__(self, root: str, wanted: dict[str, Any]) -> None:
        self.root, self.wanted = os.path.realpath(root) + os.sep, wanted
        self.steps: list[str] = []
        self.fsync = os.fsync

    def install(self) -> None:
        sys.addaudithook(self.hear)
        os.fsync = self.hear_fsync  # the one operation that raises no audit event

    def hear_fsync(self, handle: int) -> None:
        self.step("fsync", os.readlink(f"/proc/self/fd/{handle}"))
        self.fsync(handle)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and (arguments[2] or 0) & _WRITING:
            self.step("open", arguments[0])
        elif event == "os.rename" or event == "os.link":
            self.step(event[3:], os.fspath(arguments[1]))
        elif event in ("os.remove", "os.mkdir", "os.rmdir"):
            self.step(event[3:], os.fspath(arguments[0]))

    def step(self, operation: str, path: str) -> None:
        if not os.path.join(os.getcwd(), path).startswith(self.root):
            return
        self.steps.append(f"{operation} {path.removeprefix(self.root)}")
        number = len(self.steps)
        if number == self.wanted.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        first, last, code = self.wanted.get("fail", (0, 0, 0))
        if first <= number <= last and operation in self.wanted.get("only", operation):
            raise OSError(code, os.strerror(code), path)
        self.pause(operation, path)

    def pause(self, operation: str, path: str) -> None:
        wanted, end, file = self.wanted.get("pause", ("", "", ""))
        if operation == wanted and path.endswith(end):
            Path(f"{file}.reached").touch()
            while not os.path.exists(file):
                time.sleep(0.005)


def drop_rights() -> None:
    """Let permissions bind root too: drop all capabilities of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def run(root: str, arguments: list[str], wanted: dict[str, Any]) -> int:
    """Run the command in this process, under faults."""
    from codegen import commands  # noqa: F401  (imported before the first step is counted)
    from codegen.cli import main
    from codegen.run import pipeline  # noqa: F401  (imported before the first step is counted)

    faults = Faults(root, wanted)
    faults.install()
    sys.argv = ["codegen", *arguments, "--root", root]
    try:
        return main()
    finally:
        if "log" in wanted:
            with open(wanted["log"], "w", encoding="utf-8") as file:
                file.write("\n".join(faults.steps))


def forked(root: str, arguments: list[str], wanted: dict[str, Any]) -> int:
    """Run the command in a child; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            with open(os.devnull, "w", encoding="utf-8") as sink:
                sys.stdout = sys.stderr = sink
                code = run(root, arguments, wanted)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def contents(root: str) -> dict[str, bytes]:
    """Path -> content of every file below a root, without the state of codegen."""
    folder = Path(root)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in files
        if path.relative_to(folder).parts[0] != ".codegen" and path.suffix != ".pyc"
    }


def sweep(
    before: str, scratch: str, command: list[str], fault: Callable[[int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The command, an `apply`, once for each of its steps with `fault(step)`, then once more without.

    Returns one record a step: the step, both exit codes, the tree after each run (`old`, `new` or `mixed`), whether a
    journal or folders were left.
    """
    reference, log = f"{scratch}/reference", f"{scratch}/log"
    shutil.copytree(before, reference)
    assert forked(reference, command, {"log": log}) == 0
    old, new = contents(before), contents(reference)
    steps = Path(log).read_text().split("\n")
    records: list[dict[str, Any]] = []
    for number, name in enumerate(steps, 1):
        root = f"{scratch}/{number}"
        shutil.copytree(before, root)
        record: dict[str, Any] = {"step": f"{number} {name}", "exit": forked(root, command, fault(number))}
        record["tree"] = _compare(contents(root), old, new)
        record["journal"] = any(os.path.exists(f"{root}/.codegen/{name}") for name in ("journal", "undo"))
        record["again"] = forked(root, ["apply"], {})
        record["tree again"] = _compare(contents(root), old, new)
        record["folders again"] = _folders(root) == _folders(reference)
        record["left again"] = sorted(set(os.listdir(f"{root}/.codegen")) & {"journal", "undo", "journal.tmp"})
        records.append(record)
    return records


def _folders(root: str) -> set[str]:
    return {folder.removeprefix(root) for folder, _, _ in os.walk(root) if ".codegen" not in folder}


def _compare(found: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]) -> str:
    return "old" if found == old else "new" if found == new else "mixed"


def main() -> int:
    """The command line of this driver."""
    wanted: dict[str, Any] = json.loads(sys.argv[1])
    if wanted.get("stub"):
        from tests.codegen.scratch import stub

        stub.install()
    if "sweep" in wanted:
        fault = wanted["fault"]
        records = sweep(wanted["sweep"], wanted["scratch"], sys.argv[2:], lambda number: _at(fault, number))
        print(json.dumps(records))
        return 0
    if wanted.get("weak"):
        drop_rights()
    return run(wanted["root"], sys.argv[2:], wanted)


def _at(fault: dict[str, Any], number: int) -> dict[str, Any]:
    """A fault whose numbers of steps are written as `step`."""
    filled: dict[str, Any] = json.loads(json.dumps(fault).replace('"step"', str(number)))
    return filled


if __name__ == "__main__":
    sys.exit(main())
