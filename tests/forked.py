"""Processes forked from one that has imported what they run, which takes longer than the runs.

`in_processes` runs a command in several at once, as torchrun starts them. With a GPU, which no fork may share, it is
torchrun itself. `python -m tests.forked MODULE ...` is the process that is forked: it imports the modules, and reads
what to run from lines of JSON, one after the other; to each it answers with an exit code.
"""

import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

RECIPE = ("nemo_automodel.recipes.building", "nemo_automodel.recipes.checking", "nemo_automodel.recipes.finetune")
IMPORTED = (*RECIPE, "nemo_automodel.components.models.llama.model", "torch.distributed.fsdp")
ROOT = Path(__file__).parents[1]
LONGEST = 300  # seconds of a command


class Forked:
    """A process that has imported modules, those of a tree before others. It ends with the one that started it."""

    def __init__(self, modules: Sequence[str], tree: Path = ROOT) -> None:
        self._logs = TemporaryDirectory()
        paths = os.pathsep.join(filter(None, [str(tree), os.environ.get("PYTHONPATH")]))
        self._serving = subprocess.Popen(
            [sys.executable, "-m", "tests.forked", *modules],
            cwd=tree,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def runs(
        self, command: Sequence[str], count: int = 1, folder: Path | None = None, **environment: str
    ) -> tuple[int, str]:
        """Runs a script, or `-m` a module, with its arguments in so many processes. Gives exit code and output."""
        log = Path(self._logs.name, "log")
        folder = folder or Path.cwd()
        asked = {"command": command, "count": count, "environment": environment, "folder": str(folder), "log": str(log)}
        assert self._serving.stdin and self._serving.stdout
        self._serving.stdin.write(json.dumps(asked) + "\n")
        self._serving.stdin.flush()
        if not select.select([self._serving.stdout], [], [], LONGEST)[0]:
            self._serving.kill()
            raise TimeoutError(f"{command} runs longer than {LONGEST} s")
        code = self._serving.stdout.readline()
        return int(code or 1), log.read_text(errors="replace")


def in_processes(count: int, *command: str, **environment: str) -> None:
    """Runs a command in so many processes at once, which must all end well."""
    if torch.cuda.is_available() and environment.get("CUDA_VISIBLE_DEVICES") != "":
        torchrun = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={count}",
            *command,
        ]
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        given = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **environment}
        done = subprocess.run(
            [*torchrun, *command], env=given, capture_output=True, text=True, timeout=LONGEST, check=False
        )
        code, said = done.returncode, done.stderr
    else:
        code, said = _imported().runs(command, count, **environment)
    assert code == 0, said[-4000:]


@cache
def _imported() -> Forked:
    return Forked(IMPORTED)


def main() -> int:
    for module in sys.argv[1:]:
        import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(asked(**json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return 0


def asked(command: list[str], count: int, environment: dict[str, Any], folder: str, log: str) -> int:
    """The exit code of what a line asks for, whose output goes to a file."""
    output, nothing = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), os.open(os.devnull, os.O_RDONLY)
    for descriptor, opened in ((0, nothing), (1, output), (2, output)):
        os.dup2(opened, descriptor)
    os.chdir(folder)
    os.environ.update(environment)
    return ended([started(place, command) for place in (places(count) if count > 1 else [{}])])


def places(count: int) -> list[dict[str, str]]:
    """What torchrun tells each process by its environment."""
    together = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "TORCHELASTIC_RUN_ID": "forked",
    }
    return [{**together, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def started(environment: dict[str, str], command: list[str]) -> int:
    """The id of a process that runs the command."""
    child = os.fork()
    if child:
        return child
    os.environ.update(environment)
    code = 1
    try:
        code = run(command)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(command: list[str]) -> int:
    """As the main module. Gives its exit code."""
    is_module = command[0] == "-m"
    name, *arguments = command[is_module:]
    sys.argv = [name, *arguments]
    try:
        (runpy.run_module if is_module else runpy.run_path)(name, run_name="__main__")
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def ended(ranks: list[int]) -> int:
    """Waits for all. The first that fails ends the others, which would wait for it; its exit code."""
    left = set(ranks)
    while left:
        child, status = os.wait()
        left.discard(child)
        if status:
            for other in left:
                os.kill(other, signal.SIGKILL)
            return 1
    return 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
