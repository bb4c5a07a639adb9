"""Processes as torchrun starts them, forked from one that has imported what they run, which takes longer than the runs.

`python -m tests.forked COUNT SCRIPT ARGUMENT ...`, or `-m MODULE` in place of a script. With a GPU, which no fork may
share, it is torchrun itself.
"""

import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

import torch

IMPORTED = ("nemo_automodel.recipes.finetune", "nemo_automodel.components.models.llama.model", "torch.distributed.fsdp")
ROOT = Path(__file__).parents[1]


def in_processes(count: int, *command: str, **environment: str) -> None:
    """Runs a command in so many processes at once, which must all end well."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, **environment}
    forked = [sys.executable, "-m", "tests.forked", str(count), *command]
    done = subprocess.run(forked, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def main() -> int:
    count, *command = sys.argv[1:]
    if torch.cuda.is_available():
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        os.execv(sys.executable, [sys.executable, *torchrun, *command])
    for module in IMPORTED:
        import_module(module)
    environment = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "TORCHELASTIC_RUN_ID": "forked",
    }
    ranks = [started(rank, environment, command) for rank in map(str, range(int(count)))]
    return ended(ranks)


def started(rank: str, environment: dict[str, str], command: list[str]) -> int:
    """The id of a process that runs the command."""
    child = os.fork()
    if child:
        return child
    os.environ.update(environment, RANK=rank, LOCAL_RANK=rank)
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
