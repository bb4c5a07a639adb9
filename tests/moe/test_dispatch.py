"""Experts spread over processes, alone and with FSDP2 and gradient accumulation, against one process."""

import os
import subprocess
import sys
from pathlib import Path

from tests.moe.parallel_run import load

ROOT = Path(__file__).parents[2]


def run(processes, folder, *steps):
    """Each step in turn in one set of processes, which take seconds to start."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = [str(Path(__file__).with_name("parallel_run.py")), str(folder), *steps]
    done = subprocess.run(command + script, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]


def test_gradients_are_reduced_once_at_the_last_of_several_backward_passes(tmp_path):
    run(2, tmp_path, "accumulate:reshard", "accumulate:keep")


def test_losses_and_gradients_equal_one_process_and_a_checkpoint_of_four_loads_on_two_and_on_one(tmp_path):
    run(4, tmp_path, "compare:ep", "compare:fsdp", "save:fsdp")
    run(2, tmp_path, "compare:ep", "compare:fsdp", "load:ep", "load:fsdp")
    load(tmp_path, "alone")
