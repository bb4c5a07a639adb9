"""The generated examples are recipes; `test_finetune` runs one of them, `images/test_finetune` two of images."""

from pathlib import Path

import pytest

from nemo_automodel.recipes.arguments import training_arguments
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.inputs import check_inputs
from nemo_automodel.recipes.targets import is_of_images, resolve_target

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*_finetune/*/*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_a_recipe(example: Path) -> None:
    recipe = load_recipe(example)
    for section in ("model", "dataset", "optimizer"):
        assert callable(resolve_target(recipe[section], section))
    check_inputs(recipe)
    assert is_of_images(recipe["model"]) == ("vlm_finetune" in example.parts)
    assert training_arguments(recipe).output_dir.endswith(example.stem)
