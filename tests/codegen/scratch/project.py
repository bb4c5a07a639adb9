"""A scratch tree for tests, and the real command run on it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.codegen.scratch import driver

REPOSITORY = Path(__file__).resolve().parents[3]
REGISTRY = "nemo_automodel/_transformers/registry.py"
INDEX = "docs/model-coverage/llm/index.md"
REGISTRY_TEXT = """\
from collections import OrderedDict

MODEL_ARCH_MAPPING = OrderedDict([])

_CUSTOM_CONFIG_REGISTRATIONS: dict[str, tuple[str, str]] = {}
"""
INDEX_TEXT = """\
# Models

<!-- codegen: rows begin -->
| Model | Text |
|---|---|
<!-- codegen: rows end -->

Below.
"""


@dataclass(frozen=True)
class Result:
    """What one run of the command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


class Project:
    """A tree with a registry and an index page; `stub` says which generator its runs use."""

    def __init__(self, root: Path, *, stub: bool = True) -> None:
        self.root, self.stub = root, stub
        for path, text in (("pyproject.toml", ""), (REGISTRY, REGISTRY_TEXT), (INDEX, INDEX_TEXT)):
            self.write(path, text)
        (root / "specs").mkdir(exist_ok=True)

    @classmethod
    def applied(cls, root: Path) -> "Project":
        """One with a spec that was applied and checked, so that its state is on the disk."""
        made = cls(root)
        made.spec("llama")
        assert made.run("apply").code == 0
        assert made.run("check").code == 0
        return made

    def write(self, path: str, text: str) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def spec(self, name: str, text: str = "hello") -> Path:
        return self.write(f"specs/{name}.yaml", f"name: {name}\n{text}\n")

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def contents(self) -> dict[str, bytes]:
        return driver.contents(str(self.root))

    def start(self, *arguments: str, **faults: Any) -> "subprocess.Popen[str]":
        wanted = {"root": str(self.root), "stub": self.stub, **faults}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.codegen.scratch.driver", json.dumps(wanted), *arguments],
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **faults: Any) -> Result:
        child = self.start(*arguments, **faults)
        out, err = child.communicate(timeout=120)
        return Result(child.returncode, out, err)


def environment(**more: str) -> dict[str, str]:
    """The environment of a run: this repository's packages, and not continuous integration."""
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **more}
