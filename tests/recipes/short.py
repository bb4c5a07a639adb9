"""Generated examples, cut down to seconds."""

from pathlib import Path

import yaml

from nemo_automodel.recipes.config import load_recipe

EXAMPLES = Path(__file__).parents[2] / "examples" / "llm_finetune"


def write_recipe(folder: Path, name: str, checkpoint: Path, *overrides: str) -> Path:
    """The recipe of a family on a tiny checkpoint; its output goes to `out` beside it."""
    path, short = folder / "recipe.yaml", [
        f"model.pretrained_model_name_or_path={checkpoint}",
        f"trainer.output_dir={folder / 'out'}",
        "trainer.per_device_train_batch_size=4",
        "trainer.gradient_accumulation_steps=2",
        "trainer.warmup_steps=0",
        "dataset.samples=64",
        "dataset.sequence_length=16",
        "optimizer.lr=1e-2",
        *overrides,
    ]
    path.write_text(yaml.safe_dump(load_recipe(EXAMPLES / name / f"{name}.yaml", short), sort_keys=False))
    return path
