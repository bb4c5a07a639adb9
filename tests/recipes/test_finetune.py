"""The recipe trains, saves in Hugging Face layout and resumes, on one process and sharded over two."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, main
from nemo_automodel.recipes.mistakes import RecipeError
from tests.recipes.runs import drop_all_but, losses, torchrun

BACKEND = "model.backend={_target_: nemo_automodel.components.models.common.BackendConfig, projections: %s}"


def assert_loads_in_transformers(folder: Path) -> None:
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert type(model).__module__.startswith("transformers.")
    assert model.config.architectures == ["LlamaForCausalLM"]
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in list(file.keys())  # it is tied: one of the two is written


@pytest.mark.parametrize("projections", ["split", "packed"])
def test_loss_falls_and_resuming_equals_going_through(recipe: Path, projections: str) -> None:
    output, backend = recipe.parent / "out", BACKEND % projections
    assert main([str(recipe), backend]) == 0
    through = losses(output)
    assert len(through) == 6 and through[-1] < 0.9 * through[0]
    assert_loads_in_transformers(output)

    drop_all_but("checkpoint-3", output)
    assert main([str(recipe), "--resume", backend]) == 0  # an option may stand anywhere
    assert losses(output) == through
    assert_loads_in_transformers(output)


def test_a_text_file_trains_with_the_models_own_tokenizer(recipe: Path) -> None:
    text = recipe.parent / "data.txt"
    text.write_text("w1 w2 w3 w4 w5\n" * 64)
    dataset = {
        "_target_": "nemo_automodel.recipes.data.TextDataset",
        "path": str(text),
        "sequence_length": 16,
    }
    sections = {**load_recipe(recipe), "dataset": dataset, "eval_dataset": dataset}
    trainer = finetune(sections)
    assert trainer.evaluate()["eval_loss"] < losses(recipe.parent / "out")[0]
    assert (recipe.parent / "out" / "tokenizer.json").is_file()


def test_nothing_to_resume_from_is_an_error(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="trainer.output_dir: .* has no checkpoint"):
        finetune(load_recipe(recipe), resume=True)


def test_an_unknown_sharding_option_is_an_error(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="fsdp.cpu_ofload: sharding has no such field; did you mean 'cpu_offload'"):
        finetune(load_recipe(recipe, ["fsdp.cpu_ofload=true"]))


@pytest.fixture
def single(recipe: Path) -> Sequence[float]:
    """The losses of one process with the whole batch."""
    output = recipe.parent / "single"
    finetune(load_recipe(recipe, [f"trainer.output_dir={output}"]))
    return losses(output)


def test_two_sharded_processes_equal_one(recipe: Path, single: Sequence[float]) -> None:
    output = recipe.parent / "out"
    changed = ("trainer.per_device_train_batch_size=2", BACKEND % "packed")
    torchrun(str(Path(__file__).with_name("sharded_run.py")), str(recipe), str(recipe.parent), *changed)
    for rank in (0, 1):
        report = json.loads((recipe.parent / f"rank{rank}.json").read_text())
        assert report["backend"] == ("nccl" if torch.cuda.is_available() else "gloo")
        assert report["trained"] == "FSDPLlamaForCausalLM"
        assert report["parameters"] and all(report["parameters"].values()), report
    assert losses(output) == pytest.approx(single, abs=1e-5)
    assert_loads_in_transformers(output)
    assert_loads_in_transformers(output / "checkpoint-3")

    drop_all_but("checkpoint-3", output)
    with pytest.raises(RecipeError, match="can only be resumed with torchrun"):
        finetune(load_recipe(recipe), resume=True)
    torchrun("-m", "nemo_automodel.recipes.finetune", str(recipe), *changed, "--resume")
    assert losses(output) == pytest.approx(single, abs=1e-5)
    assert_loads_in_transformers(output)
