"""Packed examples are trained on as each by itself: losses, gradients, whole runs; what cannot do so is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, Lfm2Config, LlamaConfig, PreTrainedConfig

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes.arguments import training_arguments
from nemo_automodel.recipes.building import build_trainer
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.packing import check_packing
from tests.recipes.chat.rows import LENGTHS
from tests.recipes.runs import losses, torchrun

PACKED = "chat={packing: true, max_length: 320}"
SIZES = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
LLAMA = LlamaConfig(**SIZES, num_key_value_heads=2, num_hidden_layers=2)
HYBRID = Lfm2Config(**SIZES, num_key_value_heads=2, num_hidden_layers=2, layer_types=["conv", "full_attention"])


def batches(recipe: Path, *overrides: str) -> list[dict[str, Any]]:
    """What the recipe's Trainer would give its model in an epoch."""
    sections = load_recipe(recipe, overrides)
    return list(build_trainer(sections, training_arguments(sections)).get_train_dataloader())


def of_each_example(model: Any, batch: dict[str, Any]) -> dict[int, float]:
    """{learned tokens of an example: their loss}; no two conversations have as many."""
    labels, positions = batch["labels"], batch.get("position_ids")
    starts = (torch.zeros_like(labels) if positions is None else (positions == 0).long()).cumsum(-1)
    numbers = starts + 1000 * torch.arange(len(labels))[:, None]
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False).logits
    each = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    targets = torch.where(labels == -100, -1, numbers)[:, 1:].flatten()
    found = {number: each[targets == number] for number in set(targets.tolist()) - {-1}}
    return {len(values): values.sum().item() for values in found.values()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("config", [LLAMA, HYBRID], ids=["llama", "hybrid"])
def test_packed_equals_each_by_itself(config: PreTrainedConfig, attention: str, chat_recipe: Path) -> None:
    torch.manual_seed(0)
    model = NeMoAutoModelForCausalLM.from_config(config, attn_implementation=attention)
    (packed,), alone = batches(chat_recipe, PACKED, "trainer.per_device_train_batch_size=9"), batches(
        chat_recipe, "trainer.per_device_train_batch_size=1"
    )
    assert len(packed["input_ids"]) == 1 and "attention_mask" not in packed and len(alone) == len(LENGTHS)
    assert (packed["position_ids"] == 0).sum() == len(LENGTHS)
    wanted = {count: loss for batch in alone for count, loss in of_each_example(model, batch).items()}
    got = of_each_example(model, packed)
    assert len(wanted) == len(LENGTHS) and got.keys() == wanted.keys()
    for count, loss in wanted.items():
        assert got[count] == pytest.approx(loss, rel=1e-5)

    count = sum(wanted)
    for batch in alone:
        model(**batch, num_items_in_batch=count, use_cache=False).loss.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    model(**packed, num_items_in_batch=count, use_cache=False).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=1e-5 * gradients[name].abs().max())


def test_a_packed_run_equals_one_that_pads(chat_recipe: Path) -> None:
    """Each step is over all conversations; on two sharded processes the rows are divided."""
    output = chat_recipe.parent / "out"
    finetune(load_recipe(chat_recipe))
    padded = losses(output)
    assert len(padded) == 3 and padded[-1] < padded[0]
    finetune(load_recipe(chat_recipe, [PACKED]))
    assert losses(output) == pytest.approx(padded, abs=1e-5)

    overrides = ["chat={packing: true, max_length: 300}", "trainer.save_strategy=steps", "trainer.save_steps=2"]
    assert len(batches(chat_recipe, *overrides, "trainer.per_device_train_batch_size=1")) == 2  # a row for each
    command = ("-m", "nemo_automodel.recipes.finetune", str(chat_recipe), *overrides)
    torchrun(*command, "trainer.per_device_train_batch_size=1")
    assert losses(output) == pytest.approx(padded, abs=1e-5)
    assert (output / "checkpoint-2" / "chat_template.jinja").is_file()
    torchrun(*command, "trainer.per_device_train_batch_size=1", "--resume")
    assert losses(output) == pytest.approx(padded, abs=1e-5)
    assert type(AutoModelForCausalLM.from_pretrained(output)).__module__.startswith("transformers.")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_sees_over_borders_is_refused(dtype: torch.dtype) -> None:
    for config in (LLAMA, HYBRID):
        check_packing(NeMoAutoModelForCausalLM.from_config(config, dtype=dtype))
    check_packing(AutoModelForCausalLM.from_config(LLAMA, dtype=dtype))
    leaky = AutoModelForCausalLM.from_config(HYBRID, dtype=dtype)
    with pytest.raises(RecipeError, match="chat.packing: in Lfm2ForCausalLM a packed example sees the one before it"):
        check_packing(leaky)
    assert leaky.training


def test_a_recipe_whose_model_sees_over_borders_is_refused(chat_recipe: Path, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(HYBRID).save_pretrained(tmp_path / "hybrid")
    sections = load_recipe(chat_recipe)
    words = sections["model"]["pretrained_model_name_or_path"]
    loads = {"model": ("AutoModelForCausalLM", str(tmp_path / "hybrid")), "tokenizer": ("AutoTokenizer", words)}
    for name, (loader, place) in loads.items():
        sections[name] = {"_target_": f"transformers.{loader}.from_pretrained", "pretrained_model_name_or_path": place}
    with pytest.raises(RecipeError, match="set it to false, or take a model of nemo_automodel"):
        finetune({**sections, "chat": {"packing": True}})
    finetune({**sections, "trainer": {**sections["trainer"], "max_steps": 1}})
