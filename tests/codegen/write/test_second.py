"""Work in a second process."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.errors import SpecError
from codegen.generate import plan_spec
from codegen.language.check import read_spec, specs_of_text
from codegen.memory.child import Worker, meanwhile
from codegen.memory.formatted import FormatCache
from codegen.memory.formatter import Formatter, black_format
from codegen.memory.store import Store
from codegen.run.planner import Planner, planned
from tests.codegen.scratch.project import REPOSITORY, environment

SOURCE = "x = {  'größe':1 }\n"


def test_the_second_process_formats_as_black_does() -> None:
    formatter = Formatter()
    assert [formatter([SOURCE]), formatter(["y=1", "z=1"])] == [black_format([SOURCE]), ["y = 1", "z = 1"]]
    formatter.close()


def test_errors_of_black_and_of_the_process_are_met_here() -> None:
    formatter = Formatter()
    with pytest.raises(ValueError, match="(?i)cannot parse"):
        formatter(["x = ("])
    assert formatter(["y=1"]) == ["y = 1"], "its child is gone by now"
    formatter.close()


def test_memory_asks_the_second_process_only_for_black(tmp_path: Path) -> None:
    cache = FormatCache(Store(str(tmp_path)))
    cache.start()
    assert cache.formatted(["y=1"], black_format, "m") == ["y = 1"]
    assert cache.formatted(["y=2"], lambda sources: [source.upper() for source in sources], "m") == ["Y=2"]
    cache.flush()


def test_the_second_process_ends_with_the_first() -> None:
    code = (
        "from codegen.memory.formatter import Formatter; f = Formatter(); print(f._worker._child, flush=True); input()"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment(), **pipes) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    for _ in range(600):
        if _ended(child):
            return
        subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError("the child outlived its parent")


def _ended(process: int) -> bool:
    """Whether a process is gone, or waits for nothing but to be collected."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_a_worker_answers_one_request_after_another_until_it_cannot() -> None:
    worker = Worker(lambda: None, lambda number: (os.getpid(), 1 // number))
    worker.ask(1)
    worker.ask(2)
    (process, one), (same, none) = worker.answer(), worker.answer()
    assert process == same != os.getpid() and (one, none) == (1, 0)
    worker.ask(0)
    with pytest.raises(EOFError):
        worker.answer()
    worker.close()


def test_a_plan_made_early_is_the_plan(tmp_path: Path) -> None:
    llama = "specs/llama.yaml"
    (tmp_path / "wrong.yaml").write_text("name: wrong\nattention: {kind: none}\n")
    planner = Planner(early=True)
    planner.expect([llama, str(tmp_path / "wrong.yaml")], str(REPOSITORY))
    assert planner.plan(llama, str(REPOSITORY)) == planned(llama, str(REPOSITORY))
    with pytest.raises(SpecError, match="wrong.yaml"):
        planner.plan(str(tmp_path / "wrong.yaml"), str(REPOSITORY))


@pytest.mark.parametrize("expected", [[], ["specs/llama.yaml"]])
def test_a_plan_is_made_here_where_nobody_makes_it_early(expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codegen.run.planner._plans", lambda request: 1 / 0)
    planner = Planner(early=True)
    planner.expect(expected, str(REPOSITORY))
    assert planner.plan("specs/llama.yaml", str(REPOSITORY)) == planned("specs/llama.yaml", str(REPOSITORY))


def test_meanwhile_waits_for_its_child_and_survives_its_errors(tmp_path: Path) -> None:
    def work() -> None:
        (tmp_path / str(os.getpid())).touch()
        raise RuntimeError

    with meanwhile(work):
        pass
    (made,) = os.listdir(tmp_path)
    assert made != str(os.getpid())
    with meanwhile(None):
        pass


@pytest.mark.parametrize("spec", specs_of_text(REPOSITORY / "specs"), ids=lambda path: path.stem)
def test_a_plan_goes_from_one_process_to_another(spec: Path) -> None:
    """Else each changed spec is planned twice, without a word."""
    plan = plan_spec(read_spec(spec, REPOSITORY))
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_the_process_that_renders_imports_nothing_that_plans() -> None:
    planning = ("codegen.configs", "codegen.generate", "codegen.language", "codegen.plan.", "codegen.tiny", "cerberus")
    code = (
        "import sys, codegen.commands, codegen.run.pipeline, codegen.render.any;"
        f"print(*(name for name in sys.modules if name.startswith({planning})))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["codegen.plan.types"]
