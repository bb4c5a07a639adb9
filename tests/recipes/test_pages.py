"""Large tensors of a recipe lie in large pages, where the system has them."""

import os
import subprocess
import sys
from pathlib import Path

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROGRAM = """
import os, re
from nemo_automodel.recipes import finetune
assert finetune.main(["no-such-recipe.yaml"]) == 2
import torch
held = torch.ones(2**25)
told = open("/proc/self/smaps_rollup").read() if os.path.exists("/proc/self") else "AnonHugePages: 0"
pages = re.findall(r"AnonHugePages: +(\\d+)", told)
print(os.environ["THP_MEM_ALLOC_ENABLE"], int(pages[0]) >= 2**16)
"""


def run(**environment: str) -> list[str]:
    """The variable, and whether more than 64 of 128 MB lie in large pages."""
    known = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=known | environment
    )
    return found.stdout.split()


def test_large_pages_are_asked_for() -> None:
    asks = SETTING.exists() and "[never]" not in SETTING.read_text()
    assert run() == ["1", str(asks)]


def test_what_is_said_stays() -> None:
    assert run(THP_MEM_ALLOC_ENABLE="0")[0] == "0"
