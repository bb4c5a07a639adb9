"""A tiny checkpoint with a tokenizer, and a recipe that trains it."""

from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["<eos>", "<unk>", *(f"w{number}" for number in range(30))]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tied llama of two layers, written by transformers, beside a word-level tokenizer."""
    folder = tmp_path_factory.mktemp("checkpoint")
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>").save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, checkpoint: Path) -> Path:
    """A recipe file whose output goes to `out` beside it."""
    sections = {
        "model": {
            "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
            "pretrained_model_name_or_path": str(checkpoint),
        },
        "dataset": {"_target_": "nemo_automodel.recipes.data.MockDataset", "samples": 64, "sequence_length": 16},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1.0e-2, "weight_decay": 0.01},
        "trainer": {
            "output_dir": str(tmp_path / "out"),
            "max_steps": 6,
            "save_steps": 3,
            "logging_steps": 1,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "disable_tqdm": True,
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    return path
