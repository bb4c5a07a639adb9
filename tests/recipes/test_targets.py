"""What a `_target_` may name, and what only the command line may allow."""

import sys
from pathlib import Path

import pytest
import torch

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.parts import build
from nemo_automodel.recipes.targets import ROLES, Allowed, resolve_target

SECTIONS = "model: {}\ndataset: {}\noptimizer: {}\ntrainer: {}\n"
MODULE = "recipe_test_data"
SOURCE = """
import os
from subprocess import Popen
{mark}
def load(): pass
class Numbers:
    def __init__(self, count): self.count = count
"""


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "torch.load",
        "torch.optim.lr_scheduler",
        "torch.optim.Optimizer",
        "torch.optim.optimizer.torch.load",
        "transformers.utils.hub.os.system",
        "transformers.Trainer.__init__",
        "transformers.pipeline",
        "transformers.AutoModelForCausalLM",
        "transformers.AutoModelForCausalLM.register",
        "transformers.LlamaForCausalLM.from_pretrained",
        "transformers.dynamic_module_utils.get_class_from_dynamic_module",
        "transformers.trainer_utils.get_last_checkpoint",
        "nemo_automodel.parity.sensitivity.judge_all",
        "nemo_automodel.parity.__main__.main",
        "nemo_automodel.recipes.config.load_recipe",
        "nemo_automodel.recipes.data.json.loads",
        "nemo_automodel.recipes.finetune.main",
        "peft.get_peft_model",
        "peft.PeftModel.from_pretrained",
        "",
        ".",
    ],
)
def test_targets_outside_the_list_are_refused(name: str) -> None:
    for key in ROLES:
        with pytest.raises(RecipeError, match=f"{key}._target_: .* is not allowed: name "):
            resolve_target({"_target_": name}, key)


def test_every_example_of_the_list_is_in_it() -> None:
    for key, role in ROLES.items():
        assert callable(resolve_target({"_target_": role.example}, key))
    assert resolve_target({"_target_": "torch.optim.AdamW"}, "optimizer") is torch.optim.AdamW
    fast = resolve_target({"_target_": "transformers.PreTrainedTokenizerFast.from_pretrained"}, "tokenizer")
    assert fast.__name__ == "from_pretrained"


@pytest.mark.parametrize(
    ("section", "where", "message"),
    [
        ({"_target_": "torch.optim.AdanW"}, "optimizer", "did you mean 'torch.optim.AdamW'"),
        ({"_target_": "peft.LoraConfg"}, "peft", "did you mean 'peft.LoraConfig'"),
        ({"_target_": "torch.optim.AdamW"}, "model", "model._target_: .* an auto class for models"),
        ({"_target_": 3}, "optimizer", "no _target_: name an optimizer of torch"),
        ({}, "model.peft_config", "model.peft_config: no _target_: name a config of peft"),
        ({"_target_": "torch.optim.AdamW"}, "trainer", "trainer._target_: is not allowed here"),
    ],
)
def test_refusals_name_the_cure(section: dict, where: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve_target(section, where)


@pytest.mark.parametrize("field", ["megatron_core", "megatron_config", "auto_mapping"])
def test_fields_that_make_peft_import_are_refused(field: str) -> None:
    with pytest.raises(RecipeError, match=f"peft.{field}: LoraConfig has no such field"):
        build({"_target_": "peft.LoraConfig", field: "os"}, "peft")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.trust_remote_code=true", "model.trust_remote_code: is not allowed in a recipe: say --trust-remote"),
        ("tokenizer={trust_remote_code: 1}", "tokenizer.trust_remote_code: is not allowed in a recipe"),
        ("model.config={_target_: x, trust_remote_code: yes}", "model.config.trust_remote_code: is not allowed"),
        ("trainer.hub={_target_: os.system}", "trainer.hub._target_: is not allowed here"),
        ("model.moe=[{_target_: os.system}]", r"model.moe\[0\]._target_: is not allowed here"),
    ],
)
def test_no_depth_of_a_file_allows_more(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(SECTIONS)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path, [override])
    load_recipe(path, ["model.trust_remote_code=false"])


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's own, which leaves a mark where it is imported; the path of the mark."""
    mark = tmp_path / "imported"
    (tmp_path / f"{MODULE}.py").write_text(SOURCE.format(mark=f"open({str(mark)!r}, 'w')"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return mark


def test_a_data_set_class_of_ones_own_needs_the_flag(module: Path) -> None:
    section = {"_target_": f"{MODULE}.Numbers", "count": 3}
    for allowed in (Allowed(), Allowed((f"{MODULE}.other",)), Allowed(("recipe_test",))):
        with pytest.raises(RecipeError, match="is not allowed: .* by --dataset-module MODULE on the command line"):
            build(section, "dataset", allowed)
        assert not module.exists()
    allowed = Allowed((MODULE,))
    assert build(section, "dataset", allowed).count == 3
    with pytest.raises(RecipeError, match="dataset.counts: Numbers has no such field; did you mean 'count'"):
        build({**section, "counts": 3}, "dataset", allowed)
    for other in ("load", "Popen", "os", "missing"):
        with pytest.raises(RecipeError, match="is not allowed: recipe_test_data defines no such class"):
            build({"_target_": f"{MODULE}.{other}"}, "eval_dataset", allowed)
    with pytest.raises(RecipeError, match="model._target_: .* is not allowed"):
        build(section, "model", allowed)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(RecipeError, match="--dataset-module no_such_module: No module named"):
        build({"_target_": "no_such_module.Numbers"}, "dataset", Allowed(("no_such_module",)))
