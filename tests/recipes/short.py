"""Generated examples, cut down to seconds."""

from pathlib import Path

import yaml

from nemo_automodel.recipes.config import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"


def write_recipe(folder: Path, name: str, checkpoint: Path, *overrides: str) -> Path:
    """The recipe of a family on a tiny checkpoint; its output goes to `out` beside it."""
    sizes = ("dataset.samples=64", "dataset.sequence_length=16")
    return _written(folder, f"llm_finetune/{name}/{name}.yaml", checkpoint, *sizes, *overrides)


def write_image_recipe(folder: Path, name: str, checkpoint: Path, *overrides: str) -> Path:
    """The same of a family of images and text."""
    sizes = ("dataset.samples=64", "dataset.longest_side=64")
    return _written(folder, f"vlm_finetune/{name}/{name}.yaml", checkpoint, *sizes, *overrides)


def _written(folder: Path, example: str, checkpoint: Path, *overrides: str) -> Path:
    path, short = folder / "recipe.yaml", [
        f"model.pretrained_model_name_or_path={checkpoint}",
        f"trainer.output_dir={folder / 'out'}",
        "trainer.per_device_train_batch_size=4",
        "trainer.gradient_accumulation_steps=2",
        "trainer.warmup_steps=0",
        "optimizer.lr=1e-2",
        *overrides,
    ]
    path.write_text(yaml.safe_dump(load_recipe(EXAMPLES / example, short), sort_keys=False))
    return path
