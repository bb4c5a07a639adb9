"""The section `quantization`: its mistakes, and what it means by itself. `qlora/` trains with it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from nemo_automodel.recipes import quantization
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from nemo_automodel.recipes.mistakes import RecipeError

QLORA = ["quantization={}", "peft={_target_: peft.LoraConfig, r: 4, target_modules: all-linear}"]
FROM_CONFIG = "_target_: nemo_automodel.NeMoAutoModelForCausalLM.from_config"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: SimpleNamespace(name=name))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["quantization={}"], "quantization: weights of four bits cannot be trained: add an adapter, section peft"),
        (["quantization.bits=4"], "quantization.bits: it has no such field"),
        (["quantization.load_in_4bit=false"], "quantization.load_in_4bit: expected one of True, got False"),
        (["quantization.bnb_4bit_quant_type=nf5"], "expected one of nf4, fp4; did you mean 'nf4'"),
        (["quantization.bnb_4bit_compute_dtype=bf16"], "quantization.bnb_4bit_compute_dtype: expected one of .*"),
        (["model.quantization_config={}"], "model.quantization_config: section quantization says it already"),
        ([f"model={{{FROM_CONFIG}, config: x}}"], "quantization: is of a checkpoint: take from_pretrained"),
    ],
)
def test_mistakes_are_named(overrides: list[str], message: str, recipe: Path, installed: None) -> None:
    adapter = [] if overrides == ["quantization={}"] else QLORA
    with pytest.raises(RecipeError, match=message):
        finetune(load_recipe(recipe, [*adapter, *overrides]))


def test_without_bitsandbytes_it_says_what_to_install(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="quantization: needs the package bitsandbytes; run: pip install"):
        finetune(load_recipe(recipe, QLORA))


def test_several_processes_are_refused(recipe: Path, installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="quantization: does not work on a sharded model; run it on one process"):
        quantization.quantization_config(load_recipe(recipe, QLORA))
