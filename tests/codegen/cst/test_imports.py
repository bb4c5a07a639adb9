"""Imports of generated modules: only what is used, in isort's order."""

import subprocess
import sys

from codegen.cst.imports import Import, import_block, used

KNOWN = [
    Import("torch"),
    Import("torch", "nn"),
    Import("math", "sqrt"),
    Import("transformers", "LlamaConfig"),
    Import("nemo_automodel.components.models.common.norm", "RMSNorm"),
    Import("nemo_automodel.components.models.common.norm", "PerHeadNorms"),
    Import("nemo_automodel.components.models.baichuan.config", "BaichuanConfig"),
    Import("nemo_automodel.components.models.common.activations", "ACT"),
    Import("nemo_automodel.components.models.common.functional", "softcap"),
]


def test_only_what_is_named_is_imported():
    assert used(KNOWN, {"nn", "RMSNorm", "x"}) == [
        Import("nemo_automodel.components.models.common.norm", "RMSNorm"),
        Import("torch", "nn"),
    ]


def test_the_block_is_sorted_as_ruff_sorts_it(tmp_path):
    path = tmp_path / "sorted.py"
    path.write_text(import_block(KNOWN, ("nemo_automodel",)) + "\n")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "I", "--line-length", "120"]
    options = ["--config", "lint.isort.known-first-party=['nemo_automodel']", str(path)]
    result = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
