"""The generated example of images and text trains through the checkpoint's own processor, alone and over two processes;
what is frozen stays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from nemo_automodel import NeMoAutoModelForImageTextToText
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, main
from tests.recipes.runs import drop_all_but, losses, torchrun

TOWERS = ("vision_tower.", "model.vision_encoder.")
PROJECTORS = ("multi_modal_projector.", "model.vision_projection.")
PARTS: dict[str, Callable[[str], bool]] = {
    "vision": lambda name: name.startswith(TOWERS),
    "projector": lambda name: name.startswith(PROJECTORS),
    "text": lambda name: not name.startswith(TOWERS + PROJECTORS),
}


def stored(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def assert_loads_in_transformers(folder: Path) -> None:
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    assert type(model).__module__.startswith("transformers.")


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, bool]:
    """Of each part whether any tensor of it is another."""
    assert before.keys() == after.keys()
    other = {name for name in before if not torch.equal(before[name], after[name])}
    return {part: any(map(inside, other)) for part, inside in PARTS.items()}


def test_loss_falls_and_resuming_equals_going_through(image_recipe: Path, written: Any, family: str) -> None:
    output = image_recipe.parent / "out"
    assert main([str(image_recipe)]) == 0
    through = losses(output)
    assert len(through) == 6 and through[-1] < 0.9 * through[0]
    assert_loads_in_transformers(output)
    assert changed(stored(written[family]), stored(output)) == {"vision": False, "projector": True, "text": True}
    assert type(AutoProcessor.from_pretrained(output)) is type(AutoProcessor.from_pretrained(written[family]))

    drop_all_but("checkpoint-3", output)
    assert main([str(image_recipe), "--resume"]) == 0
    assert losses(output) == through


@pytest.mark.parametrize("frozen", [[], ["vision", "projector"], ["text"]], ids=str)
def test_what_is_frozen_stays_bit_for_bit(llava_recipe: Path, written: dict[str, Path], frozen: list[str]) -> None:
    finetune(load_recipe(llava_recipe, [f"freeze={frozen}", "optimizer.weight_decay=0.5"]))
    found = changed(stored(written["llava"]), stored(llava_recipe.parent / "out"))
    assert found == {part: part not in frozen for part in PARTS}


def test_a_module_is_frozen_by_its_name(llava_recipe: Path, written: dict[str, Path]) -> None:
    finetune(load_recipe(llava_recipe, ["freeze=[model.language_model.layers.0]"]))
    before, after = stored(written["llava"]), stored(llava_recipe.parent / "out")
    equal = {name for name in before if torch.equal(before[name], after[name])}
    inside = {name for name in before if name.startswith("language_model.model.layers.0.")}
    unused = {
        name for name in before if "vision_tower" in name
    }  # the last layer of a tower whose last but one is taken
    assert inside and inside == equal - unused


def test_transformers_own_class_is_frozen_alike(llava_recipe: Path, written: dict[str, Path]) -> None:
    own = "model._target_=transformers.AutoModelForImageTextToText.from_pretrained"
    finetune(load_recipe(llava_recipe, [own, "freeze=[vision, text]"]))
    found = changed(stored(written["llava"]), stored(llava_recipe.parent / "out"))
    assert found == {"vision": False, "projector": True, "text": False}


def test_an_adapter_leaves_a_frozen_part_out(llava_recipe: Path) -> None:
    adapter = "peft={_target_: peft.LoraConfig, r: 4, target_modules: all-linear}"
    trainer = finetune(load_recipe(llava_recipe, [adapter, "freeze=[vision]"]))
    learning = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert any("language_model" in name for name in learning) and not any("vision_tower" in name for name in learning)
    folder = llava_recipe.parent / "out"
    inner = load_file(folder / "adapter_model.safetensors")
    assert all(not tensor.any() for name, tensor in inner.items() if "vision_tower" in name and "lora_B" in name)
    adapted = NeMoAutoModelForImageTextToText.from_pretrained(folder)
    assert type(adapted).__name__ == "LlavaForConditionalGeneration"


def test_rows_of_a_file_train_and_are_evaluated(image_recipe: Path) -> None:
    """Images of several sizes, a conversation of two, and a row without any."""
    folder = image_recipe.parent
    for name, size in {"wide": (60, 30), "tall": (20, 50), "square": (40, 40)}.items():
        Image.effect_noise(size, 64).save(folder / f"{name}.png")
    rows = [
        {"image": "wide.png", "prompt": "What is it?", "answer": "wide"},
        {"images": ["tall.png", "square.png"], "prompt": "<image> or <image>?", "answer": "tall"},
        {"prompt": "Which colour is none?", "answer": "black"},
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows * 8)))
    dataset = {"_target_": "nemo_automodel.recipes.images.ImageTextDataset", "path": str(folder / "rows.jsonl")}
    trainer = finetune({**load_recipe(image_recipe), "dataset": dataset, "eval_dataset": dataset})
    assert trainer.evaluate()["eval_loss"] < losses(folder / "out")[0]


def test_two_sharded_processes_equal_one(image_recipe: Path, written: dict[str, Path], family: str) -> None:
    """With the same whole batch; the tower of one family is frozen, that of the other learns."""
    folder, freeze = image_recipe.parent, "freeze=[vision]" if family == "llava" else "freeze=[]"
    finetune(load_recipe(image_recipe, [f"trainer.output_dir={folder / 'single'}", freeze]))
    single, output = losses(folder / "single"), folder / "out"
    half = ("trainer.per_device_train_batch_size=2", freeze)
    torchrun(str(Path(__file__).parents[1] / "sharded_run.py"), str(image_recipe), str(folder), *half)
    for rank in (0, 1):
        report = json.loads((folder / f"rank{rank}.json").read_text())
        assert report["backend"] == ("nccl" if torch.cuda.is_available() else "gloo")
        assert report["trained"].startswith("FSDP")
        assert report["parameters"] and all(report["parameters"].values()), report
    assert losses(output) == pytest.approx(single, abs=1e-5)
    assert_loads_in_transformers(output)
    found = changed(stored(written[family]), stored(output))
    assert found == {"vision": family != "llava", "projector": True, "text": True}
    alone = stored(folder / "single")
    assert all(torch.allclose(tensor, alone[name], atol=1e-5) for name, tensor in stored(output).items())
