"""Switches for memory and speed: each leaves losses as they are, and says what does not fit."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes import fp8
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


def test_fp8_is_refused_where_no_card_has_it(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="fp8: products of eight bits need a CUDA card, and there is none; take tr"):
        finetune(load_recipe(recipe, ["fp8={}"]))


def test_fp8_is_refused_on_an_older_card(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100")
    monkeypatch.setattr(fp8, "find_spec", lambda name: None)
    sections = load_recipe(recipe, ["fp8={}", "quantization={}"])
    with pytest.raises(RecipeError, match="fp8: NVIDIA A100 has none: they begin with compute capability 8.9") as told:
        fp8.fp8_options(sections)
    assert "run: pip install torchao" in str(told.value) and "section quantization has other weights" in str(told.value)
    with pytest.raises(RecipeError, match="fp8.scaling: expected one of tensorwise, rowwise; did you mean 'rowwise'"):
        fp8.fp8_options(load_recipe(recipe, ["fp8.scaling=row"]))


def test_fp8_takes_linear_layers_but_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchao itself is given a stand-in here: what it makes runs on cards alone."""
    taken: list[str] = []

    def keep(model: torch.nn.Module, config: str, module_filter_fn: Callable[..., bool]) -> None:
        taken.extend(name for name, module in model.named_modules() if module_filter_fn(module, name))

    made = SimpleNamespace(from_recipe_name=str)
    stand_in = SimpleNamespace(Float8LinearConfig=made, convert_to_float8_training=keep)
    monkeypatch.setitem(sys.modules, "torchao", SimpleNamespace(float8=stand_in))
    monkeypatch.setitem(sys.modules, "torchao.float8", stand_in)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=64, intermediate_size=40, **sizes)
    fp8.convert(NeMoAutoModelForCausalLM.from_config(config, backend={"projections": "split"}), fp8.Fp8Options())
    assert taken == [f"model.layers.0.self_attn.{name}_proj" for name in "qkvo"]  # 40 is no multiple of 16
    packed = NeMoAutoModelForCausalLM.from_config(config, backend={"projections": "packed"})
    with pytest.raises(
        RecipeError, match="fp8: packed projections would be left out: set model.backend.projections=spl"
    ):
        fp8.convert(packed, fp8.Fp8Options())
