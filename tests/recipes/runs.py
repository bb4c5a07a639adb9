"""Runs of recipes: what they leave, and two of them at once."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def drop_all_but(checkpoint: str, output: Path) -> None:
    """What a run that was stopped right after `checkpoint` leaves."""
    for path in output.iterdir():
        if path.name != checkpoint:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def torchrun(*arguments: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
