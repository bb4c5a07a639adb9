"""benchmarks/gpu.py runs from end to end without a card: its tables are whole, and say what could not be measured."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TITLES = {
    "Kernels",
    *(f"One layer of {model}, forward and backward" for model in ("llama", "qwen3_moe")),
    *(f"A step of {model}" for model in ("llama", "qwen3_moe")),
}


def tables(*arguments, **environment):
    """The first line, and {title: [cells of a row]}."""
    command = [sys.executable, "benchmarks/gpu.py", "--tiny", "--dtype", "float32", *arguments]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, *blocks = done.stdout.strip().split("\n\n")
    titles, made = blocks[::2], [block.splitlines() for block in blocks[1::2]]
    split = {
        title: [line.strip("| ").split(" | ") for line in lines] for title, lines in zip(titles, made, strict=True)
    }
    assert all(line.count("|") == lines[0].count("|") for lines in made for line in lines)
    return first, {title: rows[2:] for title, rows in split.items()}


def test_on_a_cpu_the_tables_are_whole():
    first, found = tables(TRITON_INTERPRET="0")
    assert first.startswith("no card: these numbers say nothing of one; torch 2.")
    assert set(found) == TITLES
    for title, rows in found.items():
        for row in rows:
            if "triton" in row or "triton" in row[0] or "liger" in row or "liger" in row[0]:
                assert re.search("needs (a card|the package)", row[1] if len(row) > 1 else "") or row[2].count("needs")
            else:
                assert re.search(r"^\d", row[2 if title == "Kernels" else 1]), (title, row)
    assert [row[0] for row in found["A step of llama"]][-2:] == ["transformers", "transformers, liger"]
    if find_spec("triton") is None:
        assert "needs the package triton (extra 'triton'), which is not installed" in found["Kernels"][2][2]
