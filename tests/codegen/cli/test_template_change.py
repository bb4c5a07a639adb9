"""A contract of all models is one line of a template: changed there, one `apply` updates every model in one diff."""

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
MODELS = "nemo_automodel/components/models"
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


def test_one_line_of_a_template_updates_every_model_in_one_hunk(tmp_path):
    copied(tmp_path)
    template = tmp_path / "codegen/templates/model.py"
    line = "        super().__init__(config, backend)\n        stmts.inputs\n"
    text = template.read_text()
    assert text.count(line) == 1
    template.write_text(text.replace(line, line.replace("(config, backend)", "(config, backend=backend)")))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "codegen", "apply", "--root", str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    models = sorted(path.stem for path in (ROOT / "specs").glob("*.yaml"))
    for name in models:
        old, new = ((root / MODELS / name / "model.py").read_text().splitlines()[2:] for root in (ROOT, tmp_path))
        hunks = [line for line in difflib.unified_diff(old, new, lineterm="") if line.startswith("@@")]
        assert len(hunks) == 1, f"{name}: {len(hunks)} hunks"
    changed = [line for line in result.stdout.splitlines() if line.endswith(": updated")]
    assert len(changed) == len(models)
