"""Somebody who types what the documentation shows, into a scratch tree."""

import os
import re
import shlex
import subprocess
import sys
from functools import cached_property
from pathlib import Path

from tests.forked import Forked

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
BY_OTHERS = ("torch.distributed.fsdp", "transformers.trainer", "peft")  # what is ours changes as the guide goes on
PASSING = (
    "checkpoints",
    "output",
    "pairs",
    "tiny.py",
    "tiny_vlm.py",
    "load.py",
    "pairs.py",
    ".codegen",
    ".pytest_cache",
)


class Newcomer:
    """Types into a scratch tree."""

    def __init__(self, tree: Path, imports: tuple[str, ...] = BY_OTHERS) -> None:
        """imports: what the process has imported that quick runs are forked from."""
        self.tree, self.imports = tree, imports
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.environment = {**os.environ, **quiet, "PATH": path, "PYTHONPATH": str(tree)}
        self.recipe_ran = False

    @cached_property
    def imported(self) -> Forked:
        return Forked(self.imports, self.tree)

    def types_quickly(self, command: str, expected: int = 0) -> None:
        first, *rest = shlex.split(command)
        if first != "python" or rest[0] == "-m" and not self.recipe_ran:
            self.types(command, expected)
            self.recipe_ran |= first == "python"
            return
        code, said = self.imported.runs(rest, folder=self.tree, HF_HUB_OFFLINE="1")
        assert code == expected, f"{command}\n{said[-4000:]}"

    def types(self, command: str, expected: int = 0) -> str:
        options = {"cwd": self.tree, "env": self.environment, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(["bash", "-c", command], **options)
        assert done.returncode == expected, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout + done.stderr

    def writes(self, path: str, text: str) -> None:
        (self.tree / path).write_text(text, encoding="utf-8")

    def files(self) -> dict[str, bytes]:
        """What a commit would hold."""
        found = [path for path in self.tree.rglob("*") if path.is_file() and not self._is_passing(path)]
        return {str(path.relative_to(self.tree)): path.read_bytes() for path in found}

    def _is_passing(self, path: Path) -> bool:
        first, *_ = path.relative_to(self.tree).parts
        return first in PASSING or "__pycache__" in path.parts


def commands(block: str) -> list[str]:
    """The commands of a block, one a line but for lines that go on."""
    return block.replace("\\\n", " ").strip().splitlines()
