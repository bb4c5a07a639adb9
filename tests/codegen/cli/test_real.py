"""The command with the real generator: many specs at once, with and without memory."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.codegen.scratch.project import INDEX, REPOSITORY, Project, environment

INDEX_PAGE = """\
<!-- codegen: rows begin -->
| Model | Architecture | Features | Example |
|---|---|---|---|
<!-- codegen: rows end -->
"""


def made(root: Path, count: int) -> Project:
    project = Project(root, stub=False)
    project.write(INDEX, INDEX_PAGE)
    for number in range(count):
        text = f"name: llama{number}\narchitecture: Llama{number}ForCausalLM\nconfig: transformers:LlamaConfig\n"
        project.write(f"specs/llama{number}.yaml", f"{text}summary: Number {number}.\nnorm: {{eps: {number + 1}e-6}}\n")
    return project


def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    many, one = made(tmp_path / "many", 5), made(tmp_path / "one", 5)
    assert many.run("apply").code == 0
    assert one.run("apply", "--no-cache").code == 0
    assert many.contents() == one.contents()
    assert many.run("check", "--no-cache").code == 0


def test_surroundings_leave_no_trace(tmp_path: Path) -> None:
    """Of kinds with many parts: the same bytes under another hash seed, locale, time zone, folder and memory."""
    here = Project(tmp_path / "here", stub=False)
    there = Project(tmp_path / "there" / "Ä b", stub=False)
    surroundings = (
        (here, ["--no-cache"], {"PYTHONHASHSEED": "1", "LC_ALL": "C", "PYTHONUTF8": "0", "TZ": "UTC"}),
        (there, [], {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "TZ": "Asia/Kathmandu"}),
    )
    for project, options, more in surroundings:
        project.write(INDEX, INDEX_PAGE)
        for name in ("deepseek_v2", "gpt_oss", "laguna", "nemotron_v3", "qwen3_5_moe_text"):
            shutil.copy(REPOSITORY / f"specs/{name}.yaml", project.root / "specs")
        command = [sys.executable, "-m", "codegen", "apply", *options]
        subprocess.run(command, cwd=project.root, env=environment(**more), check=True, capture_output=True)
    assert here.contents() == there.contents()


def test_every_problem_of_every_spec_is_told_once(tmp_path: Path) -> None:
    project = made(tmp_path, 6)
    for number in (1, 2, 5):
        path = f"specs/llama{number}.yaml"
        project.write(path, project.read(path) + "attention: {kind: gqaa}\nmlpp: gated\n")
    for _ in range(2):
        result = project.run("apply", "--json")
        assert result.code == 2
        places = [(problem["file"], problem["line"]) for problem in result.json["problems"]]
        assert sorted(places) == [(f"specs/llama{number}.yaml", line) for number in (1, 2, 5) for line in (6, 7)]
    assert not (project.root / "nemo_automodel/components").exists()
