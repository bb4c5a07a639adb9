"""The generated examples are recipes; `test_finetune` runs one of them."""

from pathlib import Path

import pytest

from nemo_automodel.recipes.arguments import training_arguments
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.targets import resolve_target

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples" / "llm_finetune").glob("*/*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_recipe(example: Path) -> None:
    recipe = load_recipe(example)
    for section in ("model", "dataset", "optimizer"):
        assert callable(resolve_target(recipe[section], section))
    assert training_arguments(recipe).output_dir.endswith(example.stem)
