"""Runs a program that logs its losses, and says what had passed when each was told."""

import ast
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Log:
    """A loss, and since the program began: seconds, seconds of processor of it and of what it started, and the largest
    resident size of it alone, in MiB."""

    loss: float
    seconds: float
    processor: float
    peak: float


def watch(command, threads=1):
    """([Log of each line of losses], the program's largest resident size to its end in MiB).

    Of what it started, only processes that live when a loss is told count. Raises RuntimeError where it fails.
    """
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as said:
        start, logs = time.perf_counter(), []
        program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment)
        for line in program.stdout:
            if line.lstrip().startswith("{'loss'"):
                loss = float(ast.literal_eval(line.strip())["loss"])
                passed = time.perf_counter() - start
                logs.append(Log(loss, passed, processor(program.pid), peak(program.pid)))
        _, status, usage = os.wait4(program.pid, 0)
        program.returncode = os.waitstatus_to_exitcode(status)
        if program.returncode or not logs:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{said.read()}")
    return logs, usage.ru_maxrss / 1024


def processor(pid):
    """Seconds of processor of a process and of its living children."""
    top = psutil.Process(pid)
    times = [one.cpu_times() for one in (top, *top.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def peak(pid):
    """MiB; of Linux."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
