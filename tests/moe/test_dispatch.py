"""Experts spread over processes, alone and with FSDP2 and gradient accumulation, against one process."""

from pathlib import Path

from tests.forked import in_processes
from tests.moe.parallel_run import load

ROOT = Path(__file__).parents[2]


def run(processes, folder, *steps):
    """Each step in turn in one set of processes, which take seconds to start."""
    script = Path(__file__).with_name("parallel_run.py")
    in_processes(processes, str(script), str(folder), *steps, CUDA_VISIBLE_DEVICES="")


def test_gradients_are_reduced_once_at_the_last_of_several_backward_passes(tmp_path):
    run(2, tmp_path, "accumulate:reshard", "accumulate:keep")


def test_losses_and_gradients_equal_one_process_and_a_checkpoint_of_four_loads_on_two_and_on_one(tmp_path):
    run(4, tmp_path, "compare:ep", "compare:fsdp", "save:fsdp")
    run(2, tmp_path, "compare:ep", "compare:fsdp", "load:ep", "load:fsdp")
    load(tmp_path, "alone")
