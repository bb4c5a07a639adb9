"""Runs of recipes: what they leave, and two of them at once."""

import json
import shutil
from pathlib import Path

from tests.forked import in_processes


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def drop_all_but(checkpoint: str, output: Path) -> None:
    """What a run that was stopped right after `checkpoint` leaves."""
    for path in output.iterdir():
        if path.name != checkpoint:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def torchrun(*arguments: str) -> None:
    in_processes(2, *arguments)
