"""A recipe over chat data: TRL's Trainer, with the model's own loss, and nothing changed that was not asked for."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, MixtralConfig, Trainer
from trl import SFTTrainer

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes.arguments import training_arguments
from nemo_automodel.recipes.building import build_trainer
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, main
from nemo_automodel.recipes.mistakes import RecipeError
from tests.recipes.chat.rows import MARKED
from tests.recipes.runs import drop_all_but, losses

PACKED = "chat={packing: true, max_length: 320}"
TEXT = "{_target_: nemo_automodel.recipes.data.TextDataset, path: x, sequence_length: 4}"


@pytest.mark.parametrize("overrides", [[], [PACKED]], ids=["padded", "packed"])
def test_it_trains_evaluates_resumes_and_changes_nothing_else(
    overrides: list[str], chat_recipe: Path, chat_checkpoint: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model without a token for padding has none afterwards, and nobody is told of the run."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", None)
    output = chat_recipe.parent / "out"
    evaluated = f"eval_dataset={{_target_: nemo_automodel.recipes.chat.ChatDataset, path: {rows}}}"
    often = ["trainer.eval_strategy=steps", "trainer.eval_steps=1", "trainer.save_strategy=steps"]
    command = [str(chat_recipe), *overrides, evaluated, *often, "trainer.save_steps=2"]
    assert main(command) == 0
    through, history = losses(output), json.loads((output / "trainer_state.json").read_text())["log_history"]
    evaluations = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert len(through) == len(evaluations) == 3 and evaluations[-1] < evaluations[0] < through[0]
    assert evaluations[0] == pytest.approx(through[1], abs=1e-5)  # of the same rows, before the next step

    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        before, after = (json.loads((folder / name).read_text()) for folder in (chat_checkpoint, output))
        before.pop("use_cache", None)  # the Trainer's own: off where it trains
        assert {key: after.get(key) for key in before} == before, name
    assert not (output / "README.md").exists() and not (output / "checkpoint-2" / "README.md").exists()
    assert AutoTokenizer.from_pretrained(output).chat_template

    drop_all_but("checkpoint-2", output)
    assert main([*command, "--resume"]) == 0
    assert losses(output) == through


def test_the_template_of_a_file_is_used_and_saved(chat_recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "template.jinja"
    file.write_text(MARKED)
    finetune(load_recipe(chat_recipe, [f"chat.template={file}", "trainer.max_steps=1"]))
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == MARKED


def test_the_loss_is_the_models_own(chat_recipe: Path, chat_checkpoint: Path, tmp_path: Path) -> None:
    """TRL's would leave out how evenly experts are used."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_local_experts": 4}
    torch.manual_seed(0)
    config = MixtralConfig(vocab_size=300, **sizes, num_attention_heads=4, num_key_value_heads=2)
    NeMoAutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "mixture")
    AutoTokenizer.from_pretrained(chat_checkpoint).save_pretrained(tmp_path / "mixture")
    changed = [f"model.pretrained_model_name_or_path={tmp_path / 'mixture'}", "model.moe.aux_loss_coeff=0.5"]
    sections = load_recipe(chat_recipe, changed)
    trainer = build_trainer(sections, training_arguments(sections))
    assert isinstance(trainer, SFTTrainer)
    batch = next(iter(trainer.get_train_dataloader()))
    plain = trainer.model(**batch, use_cache=False)
    assert plain.aux_loss > 0 and trainer.compute_loss(trainer.model, dict(batch)) == plain.loss


def test_it_equals_the_trainer_of_transformers(chat_recipe: Path) -> None:
    """With adapters and accumulated gradients too."""
    accumulated = ["trainer.per_device_train_batch_size=2", "trainer.gradient_accumulation_steps=3"]
    lora = "peft={_target_: peft.LoraConfig, r: 4, target_modules: all-linear}"
    sections = load_recipe(chat_recipe, [lora, *accumulated, "trainer.gradient_checkpointing=true"])
    trained = finetune(sections)
    got = losses(chat_recipe.parent / "out")
    other = build_trainer(sections, training_arguments(sections))
    plain = Trainer(
        other.model,
        other.args,
        data_collator=other.data_collator,
        train_dataset=other.train_dataset,
        optimizer_cls_and_kwargs=other.optimizer_cls_and_kwargs,
    )
    plain.train()
    assert [entry["loss"] for entry in plain.state.log_history if "loss" in entry] == pytest.approx(got, abs=1e-6)
    for (name, ours), theirs in zip(trained.model.named_parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6, msg=name)


def test_an_adapter_over_chat_is_one_that_transformers_loads(chat_recipe: Path, chat_checkpoint: Path) -> None:
    output = chat_recipe.parent / "out"
    lora = "peft={_target_: peft.LoraConfig, r: 4, target_modules: [q_proj, v_proj]}"
    trainer = finetune(load_recipe(chat_recipe, [lora, PACKED]))
    ids = torch.arange(20)[None]
    theirs = AutoModelForCausalLM.from_pretrained(output)  # the base by its name in the adapter
    assert type(theirs).__module__.startswith("transformers.")
    wanted = trainer.model.eval()(input_ids=ids).logits
    torch.testing.assert_close(theirs(ids).logits, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())
    assert all(values.dtype == torch.float32 for values in load_file(output / "adapter_model.safetensors").values())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["chat.packin=true"], "chat.packin: it has no such field; did you mean 'packing'"),
        (["chat.packing=3"], "chat.packing: expected true or false, got 3"),
        (["chat.max_length=1"], "chat.max_length: expected 2 or more, got 1"),
        (["chat.template=recipe.yml"], "chat.template: there is no file recipe.yml"),
        (["dataset.chat={}"], "dataset.chat: expected ChatOptions, got {}"),
        (["dataset.pat=x"], "dataset.pat: ChatDataset has no such field; did you mean 'path'"),
        ([f"dataset={TEXT}", "chat={}"], "chat: would be ignored: it is for a dataset of nemo_automodel.recipes.chat"),
        ([f"eval_dataset={TEXT}"], "eval_dataset._target_: of chat data is evaluated what is trained on such"),
        (["trainer.max_step=1"], "trainer.max_step: TrainingArguments has no such field"),
        (["trainer.packing=true"], "trainer.packing: TrainingArguments has no such field"),
        (["model._target_=nemo_automodel.NeMoAutoModelForImageTextToText.from_pretrained"], "ChatDataset is of text"),
    ],
)
def test_mistakes_are_named(overrides: list[str], message: str, chat_recipe: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune(load_recipe(chat_recipe, overrides))


def test_without_trl_it_says_what_to_install(chat_recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.setattr("nemo_automodel.recipes.chat.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="dataset: chat data need the package trl, .*; run: pip install trl"):
        finetune(load_recipe(chat_recipe))
