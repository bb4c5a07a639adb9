"""The blocks of docs/training.md, typed one after the other; what they leave is what the page says."""

import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.docs.test_guide import BLOCK, ROOT, commands
from tests.forked import RECIPE, Forked

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
MISSING = "quantization: needs the package bitsandbytes; run: pip install bitsandbytes"
MODULES = (*RECIPE, "nemo_automodel.recipes.merge", "trl.trainer.sft_trainer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    shutil.copytree(ROOT / "examples" / "chat_finetune", folder / "examples" / "chat_finetune")
    return folder


def test_the_page_as_a_reader_types_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # adapters name their base as it was typed
    forked = Forked(MODULES)
    for language, text in BLOCK.findall(PAGE):
        if language == "python":
            (folder / re.match(r"# (\S+\.py)\n", text)[1]).write_text(text, encoding="utf-8")
            continue
        for command in commands(text):
            words = shlex.split(command)
            if words[0] == "pip":
                continue
            count = 2 if words[0] == "torchrun" else 1
            code, said = forked.runs(words[words.index("-m") if count > 1 else 1 :], count, folder, HF_HUB_OFFLINE="1")
            refused = "quantization={}" in command and find_spec("bitsandbytes") is None
            assert (code != 0) == refused, f"{command}\n{said[-4000:]}"
            assert not refused or MISSING in said
    adapted, merged = (AutoModelForCausalLM.from_pretrained(folder / "output" / name) for name in ("chat", "merged"))
    ids = torch.arange(20)[None]
    wanted = adapted(ids).logits
    torch.testing.assert_close(merged(ids).logits, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())
    assert (folder / "output" / "chat2" / "adapter_model.safetensors").is_file()
