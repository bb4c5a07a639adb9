"""Adapters over weights of four bits, with bitsandbytes, on a CPU too. `make qlora` brings it and runs these."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaForCausalLM, PreTrainedModel, Qwen3MoeConfig

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from nemo_automodel.recipes.flops import flops_per_token
from nemo_automodel.recipes.merge import main as merge
from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.quantization import prepare
from tests.recipes.runs import losses

bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: run `make qlora`")

QLORA = ["quantization={}", "peft={_target_: peft.LoraConfig, r: 4, target_modules: all-linear}"]
IDS = torch.arange(12).view(1, 12)


@torch.no_grad()
def logits(model: PreTrainedModel) -> torch.Tensor:
    return model.eval()(input_ids=IDS).logits


def four_bits(model: torch.nn.Module) -> list[str]:
    return [name for name, weight in model.named_parameters() if isinstance(weight, bitsandbytes.nn.Params4bit)]


def test_it_trains_and_merges_into_weights_that_were_never_rounded(recipe: Path, checkpoint: Path) -> None:
    output, merged = recipe.parent / "out", recipe.parent / "merged"
    trainer = finetune(load_recipe(recipe, QLORA))
    through = losses(output)
    assert len(through) == 6 and through[-1] < through[0]
    assert len(four_bits(trainer.model)) == 2 * 7  # of each layer
    assert all(weight.dtype == torch.float32 for weight in load_file(output / "adapter_model.safetensors").values())

    assert merge([str(output), str(merged)]) == 0
    theirs = AutoModelForCausalLM.from_pretrained(checkpoint)
    theirs.load_adapter(output)
    wanted = logits(theirs)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(merged)), wanted, rtol=0, atol=1e-5)
    finetune(load_recipe(recipe, [*QLORA, "trainer.max_steps=8"]), resume=True)
    assert losses(output)[:6] == through


def test_the_model_is_that_of_transformers(checkpoint: Path) -> None:
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype="float32")
    ours = prepare(NeMoAutoModelForCausalLM.from_pretrained(checkpoint, quantization_config=config))
    theirs = prepare(LlamaForCausalLM.from_pretrained(checkpoint, quantization_config=config))
    assert four_bits(ours) == four_bits(theirs) != []
    assert torch.equal(logits(ours), logits(theirs))
    plain = NeMoAutoModelForCausalLM.from_pretrained(checkpoint).requires_grad_(False)
    assert flops_per_token(ours, 7) == flops_per_token(plain, 7)


def test_evaluation_changes_no_gradient(recipe: Path) -> None:
    """bitsandbytes lays weights out anew for inference on some processors, and goes on with those."""
    output, often = recipe.parent / "out", ["trainer.eval_strategy=steps", "trainer.eval_steps=1"]
    sections = load_recipe(recipe, QLORA)
    finetune(sections)
    alone = losses(output)
    finetune({**load_recipe(recipe, [*QLORA, *often]), "eval_dataset": sections["dataset"]})
    assert losses(output) == alone


def test_stacked_experts_are_refused(recipe: Path, tmp_path: Path) -> None:
    """bitsandbytes would leave them as they are, and preparing the model would make them larger."""
    sizes = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "head_dim": 8}
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    config = Qwen3MoeConfig(**sizes, **experts, num_attention_heads=4, num_key_value_heads=2)
    NeMoAutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "mixture")
    with pytest.raises(RecipeError, match="quantization: .* 24,.* weights of Qwen3MoeForCausalLM are none"):
        finetune(load_recipe(recipe, [*QLORA, f"model.pretrained_model_name_or_path={tmp_path / 'mixture'}"]))


def test_packed_projections_are_refused(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="backend.projections 'packed': quantisers leave packed projections"):
        finetune(load_recipe(recipe, [*QLORA, "model.backend={projections: packed}"]))
