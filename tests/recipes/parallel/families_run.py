"""What each process of test_families.py does: `in_processes(2, families_run.py, FILE, AXES, FAMILY, ...)`.

Each family, on the base config of its contract, over two processes along each axis: loss and gradients are those of one
process, or the axis is refused. The first process writes `FAMILY AXIS equal`, or `FAMILY AXIS refused: WHY`.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes.parallel.refusals import OF_AXIS
from nemo_automodel.recipes.parallel.sizes import Sizes
from tests.recipes.parallel.matrix_run import compare_with

ENOUGH = SimpleNamespace(per_device_train_batch_size=8)


def build(family, axis):
    """Without dropout, and for stages with a head of its own; what starts at 0 or 1 is random. In fp64: the gradient of
    one number that a whole layer shares is a sum of which each processor's fp32 has another last place."""
    found = vars(import_module(f"tests.unit_tests.models.{family}.test_{family}")).values()
    contract = next(one for one in found if getattr(one, "spec", None) == family)
    fields = {name: 0.0 if "drop" in name else value for name, value in contract.base.items()}
    fields |= {"tie_word_embeddings": False} if axis == "pp" else {}
    module, _, name = contract.config_class.partition(":")
    torch.manual_seed(0)
    model = NeMoAutoModelForCausalLM.from_config(getattr(import_module(module), name)(**fields)).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model if axis == "pp" else model.double()  # stages hand on fp32


def outcome(family, axis):
    shape, alone = Sizes(**{axis: 2}), build(family, axis)
    for reason in OF_AXIS[axis](alone, shape, ENOUGH):
        return f"refused: {reason}"
    compare_with(alone, build(family, axis), shape, f"{family}, {axis}")
    return "equal"


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    _, file, axes, *families = sys.argv
    lines = [f"{family} {axis} {outcome(family, axis)}\n" for family in families for axis in axes.split(",")]
    if dist.get_rank() == 0:
        Path(file).write_text("".join(lines))
    dist.barrier()
    sys.stderr.flush()
    os._exit(0)
