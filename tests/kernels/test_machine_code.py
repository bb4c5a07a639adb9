"""Every kernel compiles for two generations of cards, in a process that does not interpret."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kernels.device import DEVICE  # noqa: F401  (asks for Triton)

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = re.compile(r"\b(_\w+)\[.+\]\(\n? *")  # name[grid](
KERNELS = {
    *("glu._forward", "glu._backward", "rms_norm._forward", "rms_norm._backward"),
    *("rope._turn", "rope._norms_back", "kernels._gather", "kernels._sum"),
}


def test_every_kernel_becomes_machine_code(tmp_path):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.kernels.machine_code"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {(kernel, card) for kernel, card, *_ in lines} == {(k, c) for k in KERNELS for c in ("sm_80", "sm_90")}
    assert all(int(size) > 1000 for *_, size, _ in lines)


def test_no_kernel_is_forgotten():
    places = [ROOT / "nemo_automodel/components" / path for path in ("models/common/kernels", "moe/kernels.py")]
    files = [file for place in places for file in ([place] if place.is_file() else place.glob("*.py"))]
    launched = {f"{f.stem}.{name}" for f in files for name in LAUNCH.findall(f.read_text(encoding="utf-8"))}
    assert launched == KERNELS
