"""A recipe with the section `parallel`: its losses are one process's, and it goes on at another shape."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from tests.forked import in_processes
from tests.recipes.runs import drop_all_but, losses
from tests.recipes.short import write_recipe

EVALUATED = "{_target_: nemo_automodel.recipes.data.MockDataset, samples: 10, sequence_length: 15, seed: 1}"
SIZES = {
    **{"vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "head_dim": 8},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "moe_intermediate_size": 16, "num_experts": 4},
}


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    """The recipe of a mixture, written by transformers; its head is not tied."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(**SIZES, num_experts_per_tok=2, mlp_only_layers=[1])
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "checkpoint")
    steps = ("trainer.max_steps=6", "trainer.save_steps=3", f"eval_dataset={EVALUATED}")
    return write_recipe(tmp_path, "qwen3_moe", tmp_path / "checkpoint", *steps)


def runs(count: int, recipe: Path, *arguments: str) -> None:
    command = ("-m", "nemo_automodel.recipes.finetune", str(recipe), *arguments)
    in_processes(count, *command, CUDA_VISIBLE_DEVICES="")


def evaluated(folder: Path) -> float:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return next(entry["eval_loss"] for entry in history if "eval_loss" in entry)


def norms(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["grad_norm"] for entry in history if "grad_norm" in entry]


def test_it_trains_as_one_process_and_goes_on_at_other_shapes(mixture: Path) -> None:
    """Experts and shards on four; from the third step on stages on two, and shards without the section."""
    single, output = mixture.parent / "single", mixture.parent / "out"
    finetune(load_recipe(mixture, [f"trainer.output_dir={single}"]))

    runs(4, mixture, "parallel.ep=2", "trainer.per_device_train_batch_size=1", "optimizer.foreach=true")
    assert losses(output) == pytest.approx(losses(single), abs=1e-5)
    assert norms(output) == pytest.approx(norms(single), rel=1e-4)
    for changed in (["parallel.pp=2"], ["trainer.per_device_train_batch_size=2"]):
        drop_all_but("checkpoint-3", output)
        runs(2, mixture, *changed, "--resume")
        assert losses(output) == pytest.approx(losses(single), abs=1e-5)
        model, info = AutoModelForCausalLM.from_pretrained(output, output_loading_info=True)
        assert not any(info.values()) and type(model) is Qwen3MoeForCausalLM


def test_evaluation_counts_every_batch_once(mixture: Path) -> None:
    """Also where several processes share it: through stages, and in pieces that do not divide."""
    single, output = mixture.parent / "single", mixture.parent / "out"
    finetune(load_recipe(mixture, [f"trainer.output_dir={single}", "trainer.max_steps=1"]))
    runs(4, mixture, "parallel.pp=2", "parallel.cp=2", "trainer.max_steps=1")
    assert losses(output) == pytest.approx(losses(single), abs=1e-5)
    assert evaluated(output) == pytest.approx(evaluated(single), abs=1e-5)
