"""Recipe files: overrides, numbers, and what a `_target_` may name."""

from pathlib import Path

import pytest
import torch

from nemo_automodel.recipes.config import RecipeError, build, load_recipe, resolve_target
from nemo_automodel.recipes.finetune import main, training_arguments

SECTIONS = "model: {}\ndataset: {}\noptimizer: {}\ntrainer: {}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_overrides_replace_and_add(tmp_path: Path) -> None:
    path = write(tmp_path, SECTIONS.replace("optimizer: {}", "optimizer: {lr: 1e-5}"))
    loaded = load_recipe(path, ["trainer.max_steps=3", "model.backend.rope=torch", "trainer.bf16=true"])
    assert loaded["optimizer"]["lr"] == 1e-5  # plain YAML 1.1 reads a string
    assert loaded["trainer"] == {"max_steps": 3, "bf16": True}
    assert loaded["model"] == {"backend": {"rope": "torch"}}


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("- 1", [], "expected a mapping"),
        ("a: [", [], "cannot be read"),
        ("model: !!python/object:os.system {}", [], "cannot be read"),
        (SECTIONS.replace("trainer: {}", "trainr: {}"), [], "did you mean 'trainer'"),
        (SECTIONS.replace("model: {}", "model: 3"), [], "model: expected a mapping, got 3"),
        (SECTIONS, ["trainer.max_steps"], "write it as section.key=value"),
        (SECTIONS, ["trainer.x=[1"], "not valid YAML"),
        (SECTIONS, ["trainer.x=1", "trainer.x.y=1"], "trainer.x is a value"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message.replace(".", r"\.")):
        load_recipe(write(tmp_path, text), overrides)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "transformers.utils.hub.os.system",
        "torch.load",
        "torch.optim.optimizer.torch.load",
        "nemo_automodel.recipes.config.import_module",
        "transformers.Trainer.__init__",
        "nemo_automodel.recipes.data.json.loads",
    ],
)
def test_targets_outside_the_list_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="model._target_: .* is not allowed"):
        resolve_target({"_target_": name}, "model")


def test_unknown_targets_name_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'AdamW'"):
        resolve_target({"_target_": "torch.optim.AdanW"}, "optimizer")
    with pytest.raises(RecipeError, match="no _target_"):
        resolve_target({}, "optimizer")
    with pytest.raises(RecipeError, match="not callable"):
        resolve_target({"_target_": "torch.optim.lr_scheduler"}, "optimizer")
    assert resolve_target({"_target_": "torch.optim.AdamW"}, "optimizer") is torch.optim.AdamW


def test_build_hands_over_only_what_is_declared() -> None:
    section = {"_target_": "nemo_automodel.recipes.data.MockDataset", "samples": 2, "sequence_length": 4}
    assert len(build(section, "dataset", vocab_size=8, tokenizer=None)) == 2
    with pytest.raises(RecipeError, match="dataset: .*'vocab_size'"):
        build(section, "dataset")
    with pytest.raises(RecipeError, match="dataset: .*'sampels'"):
        build({**section, "sampels": 3}, "dataset", vocab_size=8)


def test_the_trainer_section_is_checked(tmp_path: Path) -> None:
    recipe = {"optimizer": {"lr": 0.5, "weight_decay": 0.25}, "trainer": {"output_dir": str(tmp_path)}}
    arguments = training_arguments(recipe)
    assert (arguments.learning_rate, arguments.weight_decay) == (0.5, 0.25)
    with pytest.raises(RecipeError, match="trainer.max_step: .* did you mean 'max_steps'"):
        training_arguments({"optimizer": {}, "trainer": {"max_step": 3}})
    with pytest.raises(RecipeError, match="trainer.learning_rate: optimizer.lr says it already"):
        training_arguments({"optimizer": {"lr": 1.0}, "trainer": {"learning_rate": 1.0}})


def test_the_command_names_file_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "model: {}\ntrainer: {}\n")
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.splitlines() == [f"{path}: no section 'dataset'", f"{path}: no section 'optimizer'"]
