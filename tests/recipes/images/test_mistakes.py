"""Recipes of images say what is wrong with them before anything is trained."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, Qwen2VLConfig
from transformers.utils import is_torchvision_available

from nemo_automodel import NeMoAutoModelForImageTextToText
from nemo_automodel.recipes.checkpoints import load_processor
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, main
from nemo_automodel.recipes.freezing import freeze
from nemo_automodel.recipes.images import ImageTextDataset
from nemo_automodel.recipes.inputs import collator_for
from nemo_automodel.recipes.mistakes import RecipeError
from tests.recipes.images.checkpoints import llava_processor, tokenizer

TEXT = "dataset={_target_: nemo_automodel.recipes.data.MockDataset, samples: 8, sequence_length: 8}"
IMAGES = "dataset={_target_: nemo_automodel.recipes.images.MockImageTextDataset, samples: 8}"


def refused(recipe: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        finetune(load_recipe(recipe, overrides))
    return str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (TEXT, "dataset._target_: MockDataset is of text alone, and nemo_automodel.NeMoAutoModelForImageTextToText."),
        ("freeze=vision", "freeze: expected a list of vision, projector, text or names of modules, got 'vision'"),
        ("freeze=[tower]", "freeze: LlavaForConditionalGeneration has no module 'tower'"),
        ("freeze=[model.vision_towr]", "no module 'model.vision_towr'; did you mean 'model.vision_tower'"),
        ("freeze=[vision, text, projector]", "freeze: vision, text, projector leave nothing to train"),
        (
            "tokenizer={_target_: transformers.AutoTokenizer.from_pretrained, pretrained_model_name_or_path: x}",
            "tokenizer: would be ignored: the section",
        ),
        ("processor={_target_: transformers.AutoTokenizer.from_pretrained}", "processor._target_: .* is not allowed"),
        ("dataset.longest_sid=64", "dataset.longest_sid: MockImageTextDataset has no such field; did you mean"),
        ("dataset.samples=0", "dataset: samples is 1 or more"),
        (
            "dataset={_target_: nemo_automodel.recipes.images.ImageTextDataset, path: no.jsonl}",
            "dataset.path: no.jsonl: No such file or directory",
        ),
    ],
)
def test_a_section_that_does_not_fit(llava_recipe: Path, override: str, message: str) -> None:
    found = refused(llava_recipe, override)
    assert re.search(message, found), found


def test_images_for_a_model_of_text(recipe: Path) -> None:
    message = refused(recipe, IMAGES)
    assert message.startswith("dataset._target_: MockImageTextDataset is of images, and nemo_automodel.NeMoAutoModel")
    assert message.endswith("or nemo_automodel.NeMoAutoModelForImageTextToText")
    message = refused(
        recipe, "processor={_target_: transformers.AutoProcessor.from_pretrained, pretrained_model_name_or_path: x}"
    )
    assert "processor: would be ignored: the section tokenizer says it" in message


def test_parts_that_a_model_of_text_has_not(recipe: Path, checkpoint: Path) -> None:
    assert "freeze: LlamaForCausalLM has no vision of its own" in refused(recipe, "freeze=[vision]")
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    with pytest.raises(RecipeError, match="has no projector of its own"):
        freeze(model, ["projector"])


def test_mistakes_are_named_with_the_file(llava_recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(llava_recipe), TEXT]) == 2
    assert f"{llava_recipe}: dataset._target_: MockDataset is of text alone" in capsys.readouterr().err


def section(folder: Path, **more: Any) -> dict[str, Any]:
    return {"model": {"pretrained_model_name_or_path": str(folder)}, **more}


def without(folder: Path, target: Path, *names: str) -> Path:
    shutil.copytree(folder, target)
    for name in names:
        (target / name).unlink()
    return target


def test_a_checkpoint_without_a_processor(tmp_path: Path, written: dict[str, Path]) -> None:
    bare = without(written["llava"], tmp_path / "bare", "processor_config.json")
    with pytest.raises(RecipeError, match=f"^processor: .*{bare}"):
        load_processor(section(bare))
    named = {"_target_": "transformers.AutoProcessor.from_pretrained"}
    found = load_processor(section(bare, processor=named | {"pretrained_model_name_or_path": str(written["llava"])}))
    assert type(found).__name__ == "LlavaProcessor"
    with pytest.raises(RecipeError, match="processor.pretrained_model_name_or_path: ./no is no folder"):
        load_processor(section(bare, processor=named | {"pretrained_model_name_or_path": "./no"}))


@pytest.mark.skipif(is_torchvision_available(), reason="is about machines without torchvision")
def test_a_processor_that_needs_torchvision(tmp_path: Path, written: dict[str, Path]) -> None:
    folder = without(written["llava"], tmp_path / "videos")
    said = {"processor_class": "Qwen2VLProcessor", "image_processor": {"image_processor_type": "Qwen2VLImageProcessor"}}
    (folder / "processor_config.json").write_text(json.dumps(said))
    with pytest.raises(RecipeError, match="cannot be loaded: .*; processors of videos need torchvision: pip install"):
        load_processor(section(folder))


def test_no_text_without_images_where_the_tower_is_sharded(tmp_path: Path) -> None:
    """Its ranks would wait for each other."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "?", "answer": "x"}')
    datasets = {"dataset": ImageTextDataset(str(tmp_path / "rows.jsonl"))}
    processor = llava_processor(tokenizer())
    assert collator_for(datasets, processor, sharded=False)
    with pytest.raises(RecipeError, match="dataset: .*rows.jsonl:1 has no image: under torchrun every example needs"):
        collator_for(datasets, processor, sharded=True)


def test_a_processor_without_a_template_is_named(llava_recipe: Path, tmp_path: Path, written: dict[str, Path]) -> None:
    folder = without(written["llava"], tmp_path / "plain", "chat_template.jinja")
    message = refused(llava_recipe, f"model.pretrained_model_name_or_path={folder}")
    assert message == "processor: LlavaProcessor has no chat template: put a chat_template.jinja beside the checkpoint"


def test_a_projector_within_the_tower_is_a_module() -> None:
    """It is frozen with the tower, or by its name."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    text = {**sizes, "num_key_value_heads": 2, "vocab_size": 64, "rope_parameters": rope}
    vision = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 4}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, image_token_id=60)
    model = NeMoAutoModelForImageTextToText.from_config(config)
    with pytest.raises(RecipeError, match="Qwen2VLForConditionalGeneration has no projector of its own"):
        freeze(model, ["projector"])
    freeze(model, ["model.visual.merger", "text"])
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning and all(name.startswith(("model.visual.blocks", "model.visual.patch_embed")) for name in learning)
