"""What a recipe imports, which is most of the time until the first step of a small model."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_NEEDED = (  # of a plain recipe of text on one process; each is a section's, or of several processes
    "trl",
    "bitsandbytes",
    "torchao",
    "torch.distributed.pipelining",
    "nemo_automodel.recipes.parallel",
    "nemo_automodel.recipes.sharding",
    "nemo_automodel.recipes.sft",
    "nemo_automodel.components.moe.layers",
    "nemo_automodel.components.moe.experts",
)
RUN = """
import gc, json, sys
from nemo_automodel.recipes.finetune import main
before = [name for name in ("torch", "transformers", "numpy") if name in sys.modules]
code = main(sys.argv[1:])
models = {name.split(".")[3] for name in sys.modules if name.startswith("nemo_automodel.components.models.")}
print(json.dumps([before, code, sorted(sys.modules), sorted(models), gc.get_freeze_count(), gc.get_threshold()]))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_a_plain_recipe_imports_nothing_that_it_does_not_need(recipe: Path) -> None:
    done = run("-c", RUN, str(recipe), "trainer.max_steps=1")
    assert done.returncode == 0, done.stderr[-3000:]
    before, code, modules, models, frozen, threshold = json.loads(done.stdout.splitlines()[-1])
    assert before == [] and code == 0
    assert [name for name in modules if name in NOT_NEEDED] == []
    assert models == ["common", "llama"]
    assert frozen > 100_000  # what imports made is not searched for garbage again
    assert threshold[2] < 1000  # what the run makes is


def test_a_mistake_in_the_command_line_waits_for_nothing(recipe: Path) -> None:
    code = "import sys; from nemo_automodel.recipes.launch import main; code = main(sys.argv[1:]); "
    done = run("-c", code + "print(code, 'torch' in sys.modules)", str(recipe), "trainer")
    assert done.stdout.split() == ["2", "False"], done.stderr
    assert "override 'trainer': write it as section.key=value" in done.stderr
