"""A tiny checkpoint with a tokenizer, and a recipe that trains it."""

from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from nemo_automodel.recipes.config import load_recipe

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "llm_finetune"
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
    """llama's generated example, cut down to seconds; its output goes to `out` beside it."""
    overrides = [
        f"model.pretrained_model_name_or_path={checkpoint}",
        f"trainer.output_dir={tmp_path / 'out'}",
        "trainer.max_steps=6",
        "trainer.save_steps=3",
        "trainer.per_device_train_batch_size=4",
        "trainer.gradient_accumulation_steps=2",
        "trainer.warmup_steps=0",
        "dataset.samples=64",
        "dataset.sequence_length=16",
        "optimizer.lr=1e-2",
    ]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(load_recipe(EXAMPLES / "llama" / "llama.yaml", overrides), sort_keys=False))
    return path
