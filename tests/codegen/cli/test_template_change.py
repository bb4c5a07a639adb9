"""A contract of all models is one line of a template: changed there, one `apply` updates every model in one diff."""

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from codegen.language.check import specs_of_text

ROOT = Path(__file__).parents[3]
MODELS = "nemo_automodel/components/models"
HALVES = (path.parent for path in (ROOT / MODELS).glob("*/text/model.py"))  # text models of specs of images
WITH_LAYERS = sorted(path.stem for path in specs_of_text(ROOT / "specs")) + sorted(
    path.relative_to(ROOT / MODELS).as_posix() for path in HALVES
)
PARTS = ("codegen", "specs", "nemo_automodel", "tests/unit_tests", "examples", "docs", "pyproject.toml")


def copied(target):
    """The tree that the generator reads and writes."""
    for part in PARTS:
        source, place = ROOT / part, target / part
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)


def applied(tree):
    """What `codegen apply` prints in a copy of the tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "-m", "codegen", "apply", "--root", str(tree)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tree)
    assert result.returncode == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line.endswith(": updated")]


def changed_lines(tree, name):
    """Lines that a model's file gained, less those of its header."""
    old, new = ((root / MODELS / name / "model.py").read_text().splitlines()[2:] for root in (ROOT, tree))
    return [line[1:] for line in difflib.unified_diff(old, new, lineterm="", n=0) if line[0] == "+" and line[1] != "+"]


def edited(tree, path, old, new):
    """A template in which one place is changed."""
    text = (tree / "codegen/templates" / path).read_text()
    assert text.count(old) == 1
    (tree / "codegen/templates" / path).write_text(text.replace(old, new))


def test_one_more_keyword_for_every_mixer_is_one_edit_and_a_line_of_the_model_one_hunk(tmp_path):
    """Both edits at once: all models are made again for either."""
    copied(tmp_path)
    before, after = "past_key_values=None, **kwargs", "past_key_values=None, bias=None, **kwargs"
    edited(tmp_path, "contract.py", before, after)
    line = "        super().__init__(config, backend)\n        stmts.inputs\n"
    edited(tmp_path, "model.py", line, line.replace("(config, backend)", "(config, backend=backend)"))
    assert len(applied(tmp_path)) == len(WITH_LAYERS)
    for name in WITH_LAYERS:
        changed = changed_lines(tmp_path, name)
        own = [line for line in changed if "def forward" in line]
        assert own == [f"    def forward(self, x, rope, mask, {after}):"] * len(own)
        assert len(own) == (tmp_path / MODELS / name / "model.py").read_text().count("def forward(self, x, rope") > 0
        others = [line for line in changed if line not in own]
        assert others == ["        super().__init__(config, backend=backend)"], name
