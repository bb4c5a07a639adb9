"""`automodel-finetune` as a person runs it: one process or several, exit codes, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemo_automodel.recipes import launch
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from tests.recipes.runs import losses

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "nemo_automodel.recipes.launch"]
TWO = ("--nproc-per-node", "2")
LONGEST = 120


def started(*arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, text=True, **pipes)


def test_several_processes_train_as_one(recipe: Path) -> None:
    """Tied, and its plan cuts what can be cut; options may stand anywhere."""
    output = recipe.parent / "single"
    finetune(load_recipe(recipe, [f"trainer.output_dir={output}", "trainer.max_steps=2"]))
    run = started(*TWO, str(recipe), "parallel.tp=2", "trainer.max_steps=2")
    said, _ = run.communicate(timeout=LONGEST)
    assert run.returncode == 0, said[-3000:]
    assert losses(recipe.parent / "out") == pytest.approx(losses(output), abs=1e-5)


def test_a_mistake_in_the_recipe_gives_its_own_code(recipe: Path) -> None:
    run = started(str(recipe), *TWO, "parallel.tp=2", "parallel.ep=3")
    said, _ = run.communicate(timeout=LONGEST)
    assert run.returncode == 2
    assert "recipe.yaml: parallel: tp 2 x ep 3 is 6, and there are 2 processes" in said


def test_a_signal_ends_all_processes(recipe: Path) -> None:
    """Ctrl-C, sent to the launcher alone."""
    run = started(str(recipe), *TWO, "trainer.max_steps=100000", "trainer.save_steps=100000")
    try:
        assert run.stdout
        for line in run.stdout:
            if "'loss'" in line:
                break
        children = _children(run.pid)
        assert len(children) >= 2
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=LONGEST)
        assert run.returncode == 128 + signal.SIGINT
        deadline = time.monotonic() + 10
        while any(map(_runs, children)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(_runs, children))
    finally:
        run.kill()


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_one_process_is_this_one(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.run.run", lambda *_: pytest.fail("torchrun was started"))
    assert launch.main([str(recipe), "trainer.max_steps=1", "--nproc-per-node=1"]) == 0
    assert launch.main([str(recipe), "trainer.max_stepz=1"]) == 2


@pytest.mark.parametrize(
    "given, options",
    [
        (["--nproc-per-node", "gpu"], ["--standalone", "--nproc-per-node=gpu"]),
        (["--nproc_per_node=4"], ["--standalone", "--nproc-per-node=4"]),
        (["--nnodes", "2", "--nproc-per-node", "8"], ["--nproc-per-node=8", "--nnodes=2"]),
        (["--nnodes", "2", "--rdzv-endpoint", "a:1"], ["--nnodes=2", "--rdzv-endpoint=a:1"]),
        (["--nproc-per-node=2", "--master-port", "9"], ["--nproc-per-node=2", "--master-port=9"]),
    ],
)
def test_options_are_torchruns(given: list[str], options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("torch.distributed.run.parse_args", asked.append)
    monkeypatch.setattr("torch.distributed.run.run", lambda _: None)
    assert launch.main(["a.yaml", *given, "b.c=1", "--resume"]) == 0
    assert asked == [[*options, "-m", "nemo_automodel.recipes.finetune", "a.yaml", "b.c=1", "--resume"]]


def test_what_neither_knows_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        launch.main(["a.yaml", "--nproc", "2"])
    assert left.value.code == 2 and "unrecognized arguments: --nproc" in capsys.readouterr().err
