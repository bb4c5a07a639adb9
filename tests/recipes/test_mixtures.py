"""Mixtures of experts in a recipe: correction biases move, and the load-balancing loss counts, as `model.moe` says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, Glm4MoeConfig

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, main
from tests.recipes.short import write_recipe
from tests.recipes.test_finetune import drop_all_but, losses, torchrun

STEP, FAVOURED = 0.01, [1, 4]
BIAS = "model.layers.{}.mlp.gate.e_score_correction_bias"


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint, dense in its first layer, whose biases send every token to the same two of six experts."""
    folder = tmp_path_factory.mktemp("mixture")
    config = Glm4MoeConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        n_routed_experts=6,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        eos_token_id=None,
        pad_token_id=None,
        architectures=["Glm4MoeForCausalLM"],
    )
    torch.manual_seed(0)
    model = NeMoAutoModelForCausalLM.from_config(config)
    for layer in (1, 2):
        model.state_dict()[BIAS.format(layer)][FAVOURED] = 2.0
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, mixture: Path) -> Path:
    moving = f"model.moe.gate_bias_update_factor={STEP}"
    return write_recipe(tmp_path, "glm4_moe", mixture, moving, "trainer.max_steps=4", "trainer.save_steps=2")


def assert_moved(folder: Path, steps: int) -> None:
    """Biases of the two experts that get every token went down by a step each time, those of all others up."""
    tensors = load_file(folder / "model.safetensors")
    expected = torch.full((6,), steps * STEP)
    expected[FAVOURED] = 2.0 - steps * STEP
    for layer in (1, 2):
        torch.testing.assert_close(tensors[BIAS.format(layer)], expected)


def test_biases_move_towards_experts_with_few_tokens_and_go_on_after_resuming(recipe: Path) -> None:
    output = recipe.parent / "out"
    assert main([str(recipe)]) == 0
    through = losses(output)
    assert_moved(output / "checkpoint-2", 2)
    assert_moved(output, 4)
    logged = json.loads((output / "trainer_state.json").read_text())["log_history"][0]
    assert (logged["moe/max_load"], logged["moe/worst_load"]) == (3.0, 3.0) and 0.66 < logged["moe/idle"] < 0.67

    drop_all_but("checkpoint-2", output)
    assert main([str(recipe), "--resume"]) == 0
    assert losses(output) == through
    assert_moved(output, 4)


def test_sharded_processes_move_biases_by_the_load_of_all(recipe: Path) -> None:
    output, command = recipe.parent / "out", ("-m", "nemo_automodel.recipes.finetune", str(recipe))
    torchrun(*command, "trainer.per_device_train_batch_size=2")
    assert_moved(output / "checkpoint-2", 2)
    assert_moved(output, 4)
    drop_all_but("checkpoint-2", output)
    torchrun(*command, "trainer.per_device_train_batch_size=2", "--resume")
    assert_moved(output, 4)


def test_the_balancing_loss_counts_once_whatever_the_number_of_micro_batches(recipe: Path) -> None:
    """The first step's loss is that without it, and the coefficient times the balance of the same tokens."""
    first = {}
    for coefficient in (0, 0.5):
        for micro in (1, 2):
            changes = [
                f"trainer.output_dir={recipe.parent / f'{coefficient}-{micro}'}",
                "trainer.max_steps=1",
                f"trainer.gradient_accumulation_steps={micro}",
                f"trainer.per_device_train_batch_size={8 // micro}",
                f"model.moe={{aux_loss_coeff: {coefficient}}}",
            ]
            trainer = finetune(load_recipe(recipe, changes))
            first[coefficient, micro] = trainer.state.log_history[0]["loss"]
    assert first[0, 1] == pytest.approx(first[0, 2], abs=1e-5)
    assert first[0.5, 1] == pytest.approx(first[0, 1] + 0.5 * 2, abs=0.05)  # near its least, k = 2: logits are small
    assert first[0.5, 2] == pytest.approx(first[0.5, 1], abs=0.01)


@pytest.mark.parametrize(
    ("family", "moe", "message"),
    [
        ("glm4_moe", {"gate_bias_update_facto": 1}, "moe.gate_bias_update_facto: .* did you mean 'gate_bias"),
        ("glm4_moe", {"n_routed_experts": 1}, "moe.n_routed_experts: not one of gate_bias_update_factor, aux_loss"),
        ("glm4_moe", {"aux_loss_coeff": -1}, "aux_loss_coeff: -1 would unbalance"),
        ("mixtral", {"gate_bias_update_factor": 0.1}, "no router of MixtralForCausalLM has a correction bias"),
        ("llama", {"aux_loss_coeff": 0.1}, "LlamaForCausalLM has no mixtures of experts"),
    ],
)
def test_what_nothing_would_heed_is_refused(family: str, moe: dict[str, float], message: str) -> None:
    sizes = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2}
    config = AutoConfig.for_model(family, **sizes, num_attention_heads=1, num_key_value_heads=1)
    with pytest.raises(ValueError, match=message):
        NeMoAutoModelForCausalLM.from_config(config, moe=moe)
