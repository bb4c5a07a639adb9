"""A recipe that is run in another repository trains the model of that repository, installed or not."""

import sys
from pathlib import Path

import pytest

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel._transformers import registries
from nemo_automodel.recipes.finetune import main
from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.tree import register_tree

MODEL = """
from nemo_automodel.components.models.llama.model import LlamaForCausalLM
class OursForCausalLM(LlamaForCausalLM):
    pass
"""
OURS = '("tree_of_tests.ours", "OursForCausalLM")'
REGISTRY = f'MODEL_ARCH_MAPPING = {{"LlamaForCausalLM": {OURS}}}\nMODEL_TYPE_MAPPING = {{"llama": {OURS}}}\n'


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a package in `src` and no table yet; afterwards nothing is known of it."""
    package = tmp_path / "tree/src/tree_of_tests"
    package.mkdir(parents=True)
    for name, text in (("__init__", ""), ("ours", MODEL), ("registry", REGISTRY)):
        (package / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path / "tree")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(registries, "_registered", [])
    yield tmp_path / "tree"
    registries._foreign.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "tree_of_tests"]:
        del sys.modules[name]


def loaded(checkpoint: Path) -> str:
    return type(NeMoAutoModelForCausalLM.from_pretrained(checkpoint)).__module__


@pytest.mark.parametrize("registry", ["", 'registry = "src/tree_of_tests/registry.py"\n'])
def test_its_model_is_trained(registry: str, tree: Path, recipe: Path, checkpoint: Path) -> None:
    (tree / "pyproject.toml").write_text(f'[tool.codegen]\npackage = "tree_of_tests"\nsource = "src"\n{registry}')
    assert main([str(recipe), "trainer.max_steps=1"]) == 0
    assert loaded(checkpoint) == "tree_of_tests.ours"


@pytest.mark.parametrize(
    "text", [None, "", '[tool.codegen]\nspecs = "s"\n', '[tool.codegen]\nlayout = "nemo_automodel"\n']
)
def test_without_a_package_of_its_own_nothing_is_imported(text: str | None, tree: Path, checkpoint: Path) -> None:
    if text is not None:
        (tree / "pyproject.toml").write_text(text)
    register_tree(tree)
    assert loaded(checkpoint) == "nemo_automodel.components.models.llama.model"


def test_a_folder_above_is_not_asked(tree: Path, checkpoint: Path) -> None:
    (tree / "pyproject.toml").write_text('[tool.codegen]\npackage = "tree_of_tests"\nsource = "src"\n')
    (tree / "below").mkdir()
    register_tree(tree / "below")
    assert loaded(checkpoint) == "nemo_automodel.components.models.llama.model"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[tool.codegen]\npackage = "tree_of_tests"\n',
            "tree_of_tests.registry .* cannot be imported: .*codegen check",
        ),
        ("[tool", "pyproject.toml: .*; correct it"),
    ],
)
def test_what_is_wrong_with_it_is_said(text: str, said: str, tree: Path, recipe: Path, capsys) -> None:
    (tree / "pyproject.toml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        register_tree(tree)
    assert main([str(recipe)]) == 2 and "pyproject.toml" in capsys.readouterr().err
