"""What a run says of its speed: tokens, operations by the formula, memory."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import Lfm2Config, LlamaConfig, Qwen3MoeConfig, TrainerControl, TrainerState

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes import throughput
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from nemo_automodel.recipes.flops import flops_per_token, peak_of
from nemo_automodel.recipes.throughput import ThroughputCallback, mean_length

SIZES = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
LAYER = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48  # weights: q, o, k, v, and those of the MLP


def history(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "trainer_state.json").read_text())["log_history"]


def test_every_log_of_training_says_it(recipe: Path) -> None:
    finetune(load_recipe(recipe, ["trainer.logging_steps=2"]))
    steps = [entry for entry in history(recipe.parent / "out") if "loss" in entry]
    assert [entry["num_input_tokens_seen"] for entry in steps] == [256, 512, 768]  # 2 steps of 8 rows of 16
    assert all(entry["tokens_per_second"] > 0 and entry["peak_memory_gb"] > 0.05 for entry in steps)
    assert not any("mfu" in entry for entry in steps)  # of this processor nobody says what it can do
    finetune(load_recipe(recipe, ["trainer.logging_steps=2", "trainer.include_num_input_tokens_seen='no'"]))
    assert not any("tokens_per_second" in entry for entry in history(recipe.parent / "out"))


def test_saving_and_evaluation_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(time=100.0)
    monkeypatch.setattr(throughput, "perf_counter", lambda: now.time)
    monkeypatch.setattr(throughput, "peak_of_devices", lambda arguments, model: 1e6)
    monkeypatch.setattr(throughput, "flops_per_token", lambda model, length: 10 * length)
    callback, state, control = ThroughputCallback(), TrainerState(), TrainerControl()
    rows = [{"input_ids": [1] * 4}, {"input_ids": [1] * 6}]
    callback.on_train_begin(None, state, control, train_dataloader=SimpleNamespace(dataset=rows))

    def log(seen: int) -> dict[str, float]:
        state.num_input_tokens_seen = seen
        state.log_history.append(logs := {"loss": 1.0})
        callback.on_log(None, state, control, logs=logs)
        return logs

    now.time += 2
    callback.on_step_end(None, state, control)
    assert log(1000) == {"loss": 1.0, "tokens_per_second": 500, "mfu": 500 * 50 / 1e6} | throughput.peak_memory()
    now.time += 7
    callback.on_evaluate(None, state, control)
    now.time += 5
    callback.on_save(None, state, control)
    now.time += 4
    callback.on_step_end(None, state, control)
    assert log(2000)["tokens_per_second"] == 250
    evaluated = {"eval_loss": 1.0}
    callback.on_log(None, state, control, logs=evaluated)
    assert evaluated == {"eval_loss": 1.0}


@pytest.mark.parametrize("tied", [False, True])
def test_operations_by_hand(tied: bool) -> None:
    """Six for each weight that a token meets, the table of embeddings only where it is the head too."""
    config = LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=tied)
    model = NeMoAutoModelForCausalLM.from_config(config)
    attended = 12 * 2 * 32 * 7
    assert flops_per_token(model, 7) == 6 * (2 * LAYER + 50 * 32) + attended
    model.requires_grad_(False)
    assert flops_per_token(model, 7) == 4 * (2 * LAYER + 50 * 32) + attended


def test_operations_of_mixtures_and_hybrids() -> None:
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    mixture = NeMoAutoModelForCausalLM.from_config(Qwen3MoeConfig(**SIZES, num_key_value_heads=2, **experts))
    layer = 32 * 32 * 2 + 32 * 16 * 2 + 8 * 32 + 2 * 3 * 32 * 16  # the router's too
    assert flops_per_token(mixture, 7) == 6 * (2 * layer + 50 * 32) + 12 * 2 * 32 * 7
    kinds = ["conv", "full_attention"]
    hybrid = NeMoAutoModelForCausalLM.from_config(Lfm2Config(**SIZES, num_key_value_heads=2, layer_types=kinds))
    assert flops_per_token(hybrid, 9) - flops_per_token(hybrid, 7) == 12 * 32 * 2


def test_cards_and_lengths() -> None:
    assert peak_of("NVIDIA H100 PCIe") == 756e12 and peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("NVIDIA L40S") == 362e12 and peak_of("NVIDIA GeForce RTX 9999") is None
    assert mean_length([{"input_ids": torch.ones(5)}, {"input_ids": torch.ones(7)}]) == 6
    assert mean_length([{"input_ids": [1] * 9, "seq_lengths": [4, 5]}]) == 4.5
    assert mean_length(["an example of images"]) is None
