"""LoRA in a recipe: what is saved is an adapter that transformers and peft load, and training goes on from it."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, main
from nemo_automodel.recipes.mistakes import RecipeError
from tests.recipes.test_finetune import drop_all_but, losses, torchrun

LORA = "peft={_target_: peft.LoraConfig, r: 4, target_modules: %s}"
IDS = torch.arange(12).view(1, 12)


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits


def in_transformers(folder: Path, checkpoint: Path) -> PeftModel:
    """The adapter on transformers' own model."""
    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert type(base).__module__.startswith("transformers.")
    return PeftModel.from_pretrained(base, folder)


@pytest.mark.parametrize("targets", ["[q_proj, v_proj]", "all-linear"])
def test_an_adapter_trains_resumes_and_loads_in_transformers(recipe: Path, checkpoint: Path, targets: str) -> None:
    output, lora = recipe.parent / "out", LORA % targets
    trainer = finetune(load_recipe(recipe, [lora, "trainer.gradient_checkpointing=true"]))
    through = losses(output)
    assert len(through) == 6 and through[-1] < through[0]
    assert not (output / "model.safetensors").exists()
    assert json.loads((output / "adapter_config.json").read_text())["base_model_name_or_path"] == str(checkpoint)
    assert (output / "tokenizer.json").is_file()
    wanted = logits(trainer.model)
    torch.testing.assert_close(
        logits(in_transformers(output, checkpoint)), wanted, rtol=0, atol=1e-5 * wanted.abs().max()
    )
    assert (wanted - logits(AutoModelForCausalLM.from_pretrained(checkpoint))).abs().max() > 1e-3

    drop_all_but("checkpoint-3", output)
    assert main(["--resume", str(recipe), lora]) == 0
    assert losses(output) == pytest.approx(through, abs=1e-6)


def test_a_sharded_adapter_equals_that_of_one_process(recipe: Path, checkpoint: Path) -> None:
    output, alone, lora = recipe.parent / "out", recipe.parent / "alone", LORA % "all-linear"
    trainer = finetune(load_recipe(recipe, [lora, f"trainer.output_dir={alone}"]))
    command = ("-m", "nemo_automodel.recipes.finetune", str(recipe), lora, "trainer.per_device_train_batch_size=2")
    torchrun(*command)
    assert losses(output) == pytest.approx(losses(alone), abs=1e-5)
    wanted = logits(trainer.model)
    torch.testing.assert_close(
        logits(in_transformers(output, checkpoint)), wanted, rtol=0, atol=1e-5 * wanted.abs().max()
    )

    drop_all_but("checkpoint-3", output)
    torchrun(*command, "--resume")
    assert losses(output) == pytest.approx(losses(alone), abs=1e-5)


def test_an_adapter_is_not_resumed_as_a_model(recipe: Path) -> None:
    assert main([str(recipe), LORA % "[q_proj]", "trainer.max_steps=3"]) == 0
    with pytest.raises(RecipeError, match="holds an adapter: its recipe was another"):
        finetune(load_recipe(recipe), resume=True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([LORA % "[q_prj]"], "peft: Target modules .*q_prj.* not found"),
        (["peft={r: 4}"], "peft: no _target_: name a config of peft, such as peft.LoraConfig"),
        (["model.peft_config={r: 4}"], "model.peft_config: no _target_: name a config of peft"),
        (["model.peft_config=3"], "model.peft_config: expected a mapping, such as .*, got 3"),
        ([LORA % "[q_proj]", "model.peft_config={_target_: peft.LoraConfig}"], "section peft says it already"),
        ([LORA % "[q_proj]", "peft.r=four"], "peft.r: expected an integer, got 'four'"),
        ([LORA % "[q_proj]", "peft.task_type=CAUSAL"], "peft.task_type: expected one of .* did you mean 'CAUSAL_LM'"),
        ([LORA % "[q_proj]", "peft.rr=4"], "peft.rr: LoraConfig has no such field; did you mean 'r'"),
    ],
)
def test_mistakes_of_an_adapter_are_named(recipe: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune(load_recipe(recipe, overrides))
