"""A tiny llama whose tokenizer has a chat template, conversations of several lengths, and recipes over them."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import yaml
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tests.recipes.chat.rows import CHATML, MESSAGES, tokenizer


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `datasets` makes of files stays in the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def words() -> PreTrainedTokenizerFast:
    return tokenizer(CHATML)


@pytest.fixture(scope="session")
def chat_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat_checkpoint")
    made = tokenizer(CHATML)
    made.save_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(made), **sizes, num_key_value_heads=2)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"messages": messages}) for messages in MESSAGES))
    return path


@pytest.fixture
def chat_recipe(tmp_path: Path, chat_checkpoint: Path, rows: Path) -> Path:
    """Three steps, each over all conversations at once."""
    sections: dict[str, Any] = {
        "model": {
            "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
            "pretrained_model_name_or_path": str(chat_checkpoint),
        },
        "dataset": {"_target_": "nemo_automodel.recipes.chat.ChatDataset", "path": str(rows)},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-2},
        "trainer": {
            "output_dir": str(tmp_path / "out"),
            "max_steps": 3,
            "per_device_train_batch_size": len(MESSAGES),
            "logging_steps": 1,
            "save_strategy": "no",
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path
