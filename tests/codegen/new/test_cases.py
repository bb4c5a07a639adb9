"""One folder a case: what was published (config.json, tensors.json), and the draft and the report that it must give."""

import json
import os
import shutil
from pathlib import Path

import pytest

from codegen.generate import plan_any, read_any
from codegen.new import draft
from tests.codegen.new.checkpoints import checkpoint, expanded

ROOT = Path(__file__).parents[3]
CASES = Path(__file__).parent / "cases"
UPDATE = "UPDATE_GOLDEN=1 pytest tests/codegen/new/test_cases.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A tree with the specs that stood when the cases were written: another spec must not change their drafts."""
    root = tmp_path_factory.mktemp("tree")
    names = (CASES.parent / "specs.txt").read_text().split()
    for name in names:
        target = root / "specs" / f"{name}.yaml"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / f"specs/{name}.yaml", target)
    return root


def drafted(case, root, tmp_path):
    config = json.loads((case / "config.json").read_text())
    layers = config.get("num_hidden_layers") or config.get("n_layer") or config["text_config"]["num_hidden_layers"]
    file = case / "tensors.json"
    shapes = expanded(json.loads(file.read_text()), layers) if file.exists() else None
    return draft(checkpoint(tmp_path / "checkpoint", config, shapes), root, write=False)


@pytest.mark.parametrize("case", sorted(CASES.iterdir()), ids=lambda case: case.name)
def test_a_checkpoint_becomes_this_draft(case, root, tmp_path):
    made = drafted(case, root, tmp_path)
    found = {"draft.yaml": made.text, "report.txt": f"{made}\n".replace(str(tmp_path), "")}
    for name, text in found.items():
        if os.environ.get("UPDATE_GOLDEN"):
            (case / name).write_text(text)
        assert (case / name).exists(), f"no {name}: write it with {UPDATE}"
        assert text == (case / name).read_text(), f"{case.name}/{name} differs: look at it, then {UPDATE}"
    (root / made.spec).write_text(made.text)
    plan_any(read_any(root / made.spec, root))
    (root / made.spec).unlink()
    assert not made.problems
    assert len(made.uncertain) == made.text.count("# uncertain: ") > 0
