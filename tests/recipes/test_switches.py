"""Switches for memory and speed: each leaves losses as they are, and says what does not fit."""

from pathlib import Path

import pytest
import torch

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from nemo_automodel.recipes.mistakes import RecipeError
from tests.recipes.runs import losses, torchrun

COMPILE = "compile={backend: aot_eager}"


@pytest.fixture
def plain(recipe: Path) -> list[float]:
    finetune(load_recipe(recipe))
    return losses(recipe.parent / "out")


def test_every_second_layer_is_computed_again(recipe: Path, plain: list[float]) -> None:
    switch = ["trainer.activation_checkpointing=true", "trainer.activation_checkpointing_kwargs.every_n_layers=2"]
    off = "trainer.gradient_checkpointing=null"
    trainer = finetune(load_recipe(recipe, [*switch, off]))
    assert losses(recipe.parent / "out") == pytest.approx(plain, abs=1e-6)
    assert [layer.gradient_checkpointing for layer in trainer.model.model.layers] == [True, False]


@pytest.mark.parametrize("loss", ["full", "chunked"])
def test_the_loss_may_come_in_chunks(loss: str, recipe: Path, plain: list[float]) -> None:
    finetune(load_recipe(recipe, [f"model.backend={{cross_entropy: {loss}}}"]))
    assert losses(recipe.parent / "out") == pytest.approx(plain, abs=1e-5)


def test_bf16_keeps_weights_of_fp32(recipe: Path, plain: list[float]) -> None:
    trainer = finetune(load_recipe(recipe, ["trainer.bf16=true"]))
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.float32}
    assert losses(recipe.parent / "out") == pytest.approx(plain, rel=2e-2)
    trainer = finetune(load_recipe(recipe, ["model.dtype=bfloat16"]))
    assert {weight.dtype for weight in trainer.model.parameters()} == {torch.bfloat16}


def test_layers_are_compiled(recipe: Path, plain: list[float]) -> None:
    """One by one, and then sharded too; under recomputation as well, which the example asks for."""
    output, alone = recipe.parent / "out", recipe.parent / "alone"
    trainer = finetune(load_recipe(recipe, [COMPILE, f"trainer.output_dir={alone}"]))
    assert losses(alone) == pytest.approx(plain, abs=1e-5)
    assert all(layer._compiled_call_impl is not None for layer in trainer.model.model.layers)
    torchrun("-m", "nemo_automodel.recipes.finetune", str(recipe), COMPILE, "trainer.per_device_train_batch_size=2")
    assert losses(output) == pytest.approx(plain, abs=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["compile.backnd=x"], "compile.backnd: it has no such field; did you mean 'backend'"),
        (["compile.backend=inducto"], "compile.backend: expected one of .*inductor.*, got 'inducto'"),
        (["compile.mode=fast"], "compile.mode: expected one of None, .*max-autotune.*, got 'fast'"),
        (["compile={}", "trainer.torch_compile=true"], "trainer.torch_compile: section compile says it already"),
        (["trainer.activation_checkpointing_kwargs={}"], "ignored: set trainer.activation_checkpointing=true"),
        (
            ["trainer.activation_checkpointing=true", "trainer.activation_checkpointing_kwargs={every_n_layer: 2}"],
            "trainer.activation_checkpointing_kwargs.every_n_layer: .* did you mean 'every_n_layers'",
        ),
    ],
)
def test_mistakes_are_named(overrides: list[str], message: str, recipe: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune(load_recipe(recipe, overrides))
