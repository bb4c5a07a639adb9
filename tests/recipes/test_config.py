"""Recipe files: overrides, numbers, and what a `_target_` may name."""

from pathlib import Path

import pytest
import torch

from nemo_automodel.recipes.arguments import optimizer_of, training_arguments
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import main
from nemo_automodel.recipes.mistakes import RecipeError, all_of
from nemo_automodel.recipes.parts import build

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
        (SECTIONS + "model: {}\n", [], "'model' stands twice"),
        ("[" * 1000, [], "nested too deeply"),
        (SECTIONS, ["model={1: 2}"], "model.1: expected text for a key"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message.replace(".", r"\.")):
        load_recipe(write(tmp_path, text), overrides)


def test_build_hands_over_only_what_is_declared() -> None:
    section = {"_target_": "nemo_automodel.recipes.data.MockDataset", "samples": 2, "sequence_length": 4}
    assert len(build(section, "dataset", vocab_size=8, tokenizer=None)) == 2
    with pytest.raises(RecipeError, match="dataset.vocab_size: is missing; MockDataset needs it"):
        build(section, "dataset")
    with pytest.raises(RecipeError, match="dataset.sampels: .* did you mean 'samples'"):
        build({**section, "sampels": 3}, "dataset", vocab_size=8)


def test_the_trainer_section_is_checked(tmp_path: Path) -> None:
    recipe = {"optimizer": {"lr": 0.5, "weight_decay": 0.25}, "trainer": {"output_dir": str(tmp_path)}}
    arguments = training_arguments(recipe)
    assert (arguments.learning_rate, arguments.weight_decay) == (0.5, 0.25)
    with pytest.raises(RecipeError, match="trainer.max_step: .* did you mean 'max_steps'"):
        training_arguments({"optimizer": {}, "trainer": {"max_step": 3}})
    with pytest.raises(RecipeError, match="trainer.learning_rate: optimizer.lr says it already"):
        training_arguments({"optimizer": {"lr": 1.0}, "trainer": {"learning_rate": 1.0}})


def test_a_learning_rate_of_the_trainer_reaches_the_optimizer(tmp_path: Path) -> None:
    recipe = {"optimizer": {"_target_": "torch.optim.SGD"}, "trainer": {"learning_rate": 0.5, "weight_decay": 0.1}}
    assert optimizer_of(recipe) == (torch.optim.SGD, {"lr": 0.5})


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("trainer", {"optim": "sgd"}, "trainer.optim: would be ignored: the section optimizer says it"),
        ("trainer", {"adam_beta1": 0.5}, "trainer.adam_beta1: would be ignored: the section optimizer says it"),
        ("trainer", {"fsdp": "full_shard"}, "trainer.fsdp: would be ignored: .* see the section fsdp"),
        ("trainer", {"eval_steps": 3}, "trainer.eval_steps: would be ignored: there is no section eval_dataset"),
        ("trainer", {"resume_from_checkpoint": "x"}, "would be ignored: say --resume"),
        ("trainer", {"max_steps": "many"}, "trainer.max_steps: expected an integer, got 'many'"),
        ("trainer", {"max_steps": 1e3}, "trainer.max_steps: expected an integer, got 1000.0"),
        ("trainer", {"bf16": "yes"}, "trainer.bf16: expected true or false, got 'yes'"),
        ("trainer", {"lr_scheduler_type": "cosin"}, "one of linear, cosine, .* did you mean 'cosine'"),
        ("trainer", {"gradient_accumulation_steps": 0}, "steps: expected 1 or more, got 0"),
        ("trainer", {"report_to": "wndb"}, "trainer.report_to: wndb is not supported"),
        ("trainer", {"max_stps": 1, "seeed": 2}, "did you mean 'max_steps'.*\ntrainer.seeed: .* did you mean 'seed'"),
        ("trainer", {"log_level": "loud"}, "trainer.log_level: expected one of .*, got 'loud'"),
        ("trainer", {"train_sampling_strategy": "sequentail"}, "expected one of .* did you mean 'sequential'"),
        ("trainer", {"max_steps": 0}, "trainer.max_steps: 0 would be ignored"),
        ("trainer", {"max_steps": 5, "num_train_epochs": 2}, "num_train_epochs: would be ignored: trainer.max_steps"),
        ("trainer", {"gradient_checkpointing_kwargs": {}}, "ignored: set trainer.gradient_checkpointing=true"),
        (
            "trainer",
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"reentrant": False}},
            "trainer.gradient_checkpointing_kwargs.reentrant: .* did you mean 'use_reentrant'",
        ),
        (
            "trainer",
            {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"x": 1}},
            "trainer.lr_scheduler_kwargs: .*'x'",
        ),
        ("trainer", {"bf16": True, "fp16": True}, "trainer: At most one of fp16 and bf16"),
        ("optimizer", {"beta": [0.9, 0.9]}, "optimizer.beta: AdamW has no such field; did you mean 'betas'"),
        ("optimizer", {"params": []}, "optimizer.params: AdamW has no such field"),
        ("optimizer", {"lr": "fast"}, "optimizer.lr: expected a number or Tensor, got 'fast'"),
        ("optimizer", {"lr": -1.0}, "optimizer: AdamW: Invalid learning rate: -1.0"),
        ("optimizer", {"_target_": "torch.optim.LBFGS"}, "optimizer: LBFGS: .*closure"),
        ("optimizer", {"_target_": "torch.optim.Muon"}, "optimizer: Muon: .*2D parameters"),
        ("optimizer", {"_target_": "torch.optim.Rprop", "weight_decay": 1.0}, "weight_decay: Rprop has no such field"),
    ],
)
def test_mistakes_of_trainer_and_optimizer_name_the_field(section: str, fields: dict, message: str) -> None:
    recipe = {"optimizer": {"_target_": "torch.optim.AdamW"}, "trainer": {}}
    with pytest.raises(RecipeError, match=message):
        all_of(
            lambda: training_arguments({**recipe, section: {**recipe[section], **fields}}),
            lambda: optimizer_of({**recipe, section: {**recipe[section], **fields}}),
        )


def test_the_command_names_file_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "model: {}\ntrainer: {}\n")
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.splitlines() == [f"{path}: no section 'dataset'", f"{path}: no section 'optimizer'"]
