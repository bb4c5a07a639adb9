"""Experts spread over processes, alone and with FSDP2 and gradient accumulation, against one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(processes, folder, what, mode):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = [str(Path(__file__).with_name("parallel_run.py")), str(folder), what, mode]
    done = subprocess.run(command + script, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("mode", ["ep", "fsdp"])
def test_losses_and_gradients_equal_one_process(tmp_path, processes, mode):
    run(processes, tmp_path, "compare", mode)


def test_a_checkpoint_of_four_processes_loads_on_two_and_on_one(tmp_path):
    run(4, tmp_path, "save", "fsdp")
    run(2, tmp_path, "load", "ep")
    run(1, tmp_path, "load", "ep")
