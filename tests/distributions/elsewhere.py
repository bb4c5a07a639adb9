"""Repositories of other people, and the commands that they run there: with what they installed, and no network."""

import json
import os
import subprocess
from pathlib import Path

NAMES = {f"GIT_{who}_{what}": "tester" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "mine"  # a comment that stays
version = "0.1"

[tool.setuptools.packages.find]
include = ["mine*"]
"""
PRE_COMMIT = """\
# ours
repos:
  - repo: local
    hooks:
      - id: hello  # says hello
        name: hello
        entry: "true"
        language: system
# the end
"""
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
    "vocab_size": 128,
}
# The shape of the hand-written library: a registry with entries of every form that it has, and a loader of its own.
HAND = {
    "nemo_automodel/__init__.py": "from nemo_automodel._transformers.auto_model import NeMoAutoModelForCausalLM\n",
    "nemo_automodel/_transformers/__init__.py": "",
    "nemo_automodel/_transformers/registry.py": '''\
"""Kept by hand."""

from collections import OrderedDict

MODEL_ARCH_MAPPING = OrderedDict(
    [
        # models of ours come first
        (
            "HandForCausalLM",
            ("nemo_automodel.components.models.hand.model", "HandForCausalLM", {"tag": "by hand"}),  # odd
        ),
        ("ZebraForCausalLM",   ("nemo_automodel.components.models.zebra.model", 'ZebraForCausalLM')),
    ]
)

_CUSTOM_CONFIG_REGISTRATIONS = {
    "hand": ("nemo_automodel.components.models.hand.model", "HandConfig"),
}


class _ModelRegistry:
    """Something that codegen knows nothing of."""
''',
    "nemo_automodel/_transformers/auto_model.py": """\
from importlib import import_module

from nemo_automodel._transformers.registry import MODEL_ARCH_MAPPING


class NeMoAutoModelForCausalLM:
    @classmethod
    def from_config(cls, config):
        module, name = MODEL_ARCH_MAPPING[config.architectures[0]][:2]
        return getattr(import_module(module), name)._from_config(config)
""",
    "nemo_automodel/components/__init__.py": "",
    "nemo_automodel/components/models/__init__.py": "",
    "nemo_automodel/components/models/common/__init__.py": '"""Other layers than those of the generated models."""\n',
    "nemo_automodel/components/models/hand/__init__.py": "",
    "nemo_automodel/components/models/hand/model.py": """\
from transformers import LlamaConfig, LlamaForCausalLM


class HandConfig(LlamaConfig):
    model_type = "hand"


class HandForCausalLM(LlamaForCausalLM):
    pass
""",
    "docs/model-coverage/llm/index.md": "# Models\\n\\n| Model |\\n|---|\\n| Hand |\\n",
    "pyproject.toml": '[project]\nname = "nemo-automodel"\nversion = "0.2.0"\n',
}
LOADS = """\
import sys
from transformers import AutoConfig
from {library} import NeMoAutoModelForCausalLM
config = AutoConfig.from_pretrained(sys.argv[1])
config.architectures = [sys.argv[2]]
print(type(NeMoAutoModelForCausalLM.from_config(config)).__module__)
"""


class Repository:
    """A repository and the environment that its people work in."""

    def __init__(self, root: Path, python: Path, wheelhouse: Path) -> None:
        self.root, self.python = root, python
        kept = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTHONPATH", "VIRTUAL_ENV")}
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheelhouse), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        kept["PATH"] = f"{python.parent}{os.pathsep}{kept['PATH']}"
        home = {"PRE_COMMIT_HOME": str(wheelhouse.parent / "pre-commit"), "OMP_NUM_THREADS": "1"}
        self.environment = {**kept, **NAMES, **offline, **home}

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def run(self, *command: object, code: int = 0) -> str:
        """stdout and stderr of a command, which ends with this exit code."""
        said = [str(part) for part in command]
        done = subprocess.run(said, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{said}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def codegen(self, *arguments: object, code: int = 0) -> str:
        return self.run(self.python.parent / "codegen", *arguments, code=code)

    def git(self, *arguments: object, code: int = 0) -> str:
        return self.run("git", "-c", "init.defaultBranch=main", *arguments, code=code)

    def checkpoint(self) -> Path:
        """The config.json of a small model, beside the repository."""
        folder = self.root.parent / "checkpoint"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        return folder
