"""An adapter and its base become one checkpoint, which transformers loads with equal logits."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from nemo_automodel.recipes.merge import main
from tests.recipes.images.checkpoints import llava
from tests.recipes.short import write_image_recipe
from tests.recipes.test_adapters import LORA, logits


def test_a_merged_adapter_is_a_checkpoint_like_any_other(recipe: Path, checkpoint: Path) -> None:
    output, merged = recipe.parent / "out", recipe.parent / "merged"
    lora = "peft={_target_: peft.LoraConfig, r: 4, target_modules: all-linear}"
    trainer = finetune(load_recipe(recipe, [lora]))
    assert main([str(output), str(merged)]) == 0
    model, info = AutoModelForCausalLM.from_pretrained(merged, output_loading_info=True)
    assert type(model).__module__.startswith("transformers.") and not any(info.values()), info
    wanted = logits(trainer.model)
    torch.testing.assert_close(logits(model), wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())
    assert (wanted - logits(AutoModelForCausalLM.from_pretrained(checkpoint))).abs().max() > 1e-3
    assert AutoTokenizer.from_pretrained(merged).get_vocab() == AutoTokenizer.from_pretrained(checkpoint).get_vocab()
    assert not (merged / "adapter_config.json").exists()

    half = recipe.parent / "half"
    assert main([str(output), str(half), "--base", str(checkpoint), "--dtype", "bfloat16"]) == 0
    assert AutoModelForCausalLM.from_pretrained(half).dtype == torch.bfloat16


def test_one_of_images_and_text(tmp_path: Path) -> None:
    recipe = write_image_recipe(tmp_path, "llava", llava(tmp_path / "llava"), "trainer.max_steps=2")
    finetune(load_recipe(recipe, [LORA % "[q_proj]", "freeze=[]"]))
    assert main([str(tmp_path / "out"), str(tmp_path / "merged")]) == 0
    model, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not any(info.values()) and AutoProcessor.from_pretrained(tmp_path / "merged").chat_template
    base = dict(AutoModelForImageTextToText.from_pretrained(tmp_path / "llava").named_parameters())
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, base[name])}
    assert changed and all("q_proj" in name for name in changed)


def test_what_cannot_be_merged_is_named(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "x/y/z"}'
    )
    for arguments, message in (
        ([str(checkpoint), "out"], "holds no adapter_config.json; name the folder of an adapter"),
        ([str(tmp_path / "adaptr"), "out"], "did you mean 'adapter'?"),
        ([str(tmp_path / "adapter"), str(checkpoint)], "is not empty; name another folder"),
        ([str(tmp_path / "adapter"), str(tmp_path / "out")], "x/y/z"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
