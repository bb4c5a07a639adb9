"""The sections that load from a checkpoint: mistakes name their field, and the tokenizer goes where the model goes."""

import json
import shutil
from pathlib import Path

import pytest

from nemo_automodel.recipes.checkpoints import check_model, load_tokenizer
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune, main
from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.targets import Allowed

THEIRS = "model._target_=transformers.AutoModelForCausalLM.from_pretrained"
FROM_CONFIG = "_target_: nemo_automodel.NeMoAutoModelForCausalLM.from_config"
TEXT = "dataset={_target_: nemo_automodel.recipes.data.TextDataset, path: %s, sequence_length: 4}"
WEIGHTS = "model.pretrained_model_name_or_path"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dtyp=bfloat16", "model.dtyp: the model has no such field; did you mean 'dtype'"),
        ("model.num_hidden_layer=1", "model.num_hidden_layer: .* did you mean 'num_hidden_layers'"),
        ("model.num_hidden_layers=two", "model: .*num_hidden_layers"),
        ("model.dtype=bflot16", "model.dtype: expected one of .* did you mean 'bfloat16'"),
        ("model.attn_implementation=sdp", "model.attn_implementation: 'sdp' is not one of .* did you mean 'sdpa'"),
        ("model.attn_implementation=some/kernel", "is code from the hub: say --trust-remote-code"),
        ("model.quantization_config=3", "model.quantization_config: expected dict or null, got 3"),
        ("model.use_safetensors=maybe", "model.use_safetensors: expected true or false or null, got 'maybe'"),
        ("model={dtype: auto, torch_dtype: auto}", "model: no _target_: name an auto class"),
        ("dataset.vocab_size=9999", "dataset.vocab_size: the model has 32 tokens; leave it out"),
        ("trainer.output_dir=/dev/null", "trainer.output_dir: /dev/null: File exists"),
        ("model.vocab_size=8", "model.embed_tokens.weight: on disk"),
        ("model.weights_only=false", "model.weights_only: the model has no such field"),
        ("model.kernel_config={}", "model.kernel_config: the model has no such field"),
        (f"{WEIGHTS}=path/to/llama", f"{WEIGHTS}: path/to/llama is no folder; name one"),
        (f"{WEIGHTS}=3", f"{WEIGHTS}: expected a folder or a repository of the hub, got 3"),
        (
            "tokenizer={_target_: transformers.AutoTokenizer.from_pretrained}",
            "tokenizer.pretrained_model_name_or_path: is missing",
        ),
        (TEXT % "missing.txt", "dataset.path: missing.txt: No such file or directory"),
        (TEXT.replace("4", "four") % "x", "dataset.sequence_length: expected an integer, got 'four'"),
        ("dataset.samples=0", "dataset: samples and sequence_length are 1 or more, got 0 and 16"),
    ],
)
def test_mistakes_name_their_field(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune(load_recipe(recipe, [override]))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backend={ropee: torch}"], "model.backend.ropee: BackendConfig has no such field; did you mean 'rope'"),
        (["model.backend={rope: trch}"], "model.backend.rope: 'trch' is not one of"),
        (["model.moe={aux_loss_coeff: 1}"], "model.moe: LlamaForCausalLM has no mixtures"),
        ([THEIRS, "model.dtyp=bfloat16"], "model.dtyp: the model has no such field; did you mean 'dtype'"),
        ([THEIRS, "model.moe={aux_loss_coeff: 1}"], "model.moe: is for models of nemo_automodel; take nemo_automodel"),
    ],
)
def test_mistakes_of_options_of_ours_and_theirs(recipe: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        finetune(load_recipe(recipe, overrides))


def test_a_misspelt_folder_names_the_nearest(recipe: Path, checkpoint: Path) -> None:
    with pytest.raises(RecipeError, match=f"is no folder; did you mean '{checkpoint.name}'"):
        finetune(load_recipe(recipe, [f"{WEIGHTS}={checkpoint}x"]))


def test_mistakes_of_all_sections_are_told_at_once(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mistakes = [
        "model.dtyp=float32",
        "optimizer.lrr=1",
        "trainer.max_step=1",
        "dataset.sampels=1",
        "fsdp.cpu_ofload=true",
    ]
    assert main([str(recipe), *mistakes]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5 and all("did you mean" in line for line in lines), lines


def test_fresh_weights_from_a_config(recipe: Path, checkpoint: Path) -> None:
    """By its path with fields of the config, or as a nested section, whose fields are checked too."""
    plain = f"model={{{FROM_CONFIG}, config: {checkpoint}, num_hidden_layers: 1}}"
    nested = f"model={{{FROM_CONFIG}, config: {{_target_: transformers.AutoConfig.from_pretrained, %s: {checkpoint}}}}}"
    nested %= "pretrained_model_name_or_path"
    assert len(finetune(load_recipe(recipe, [plain, "trainer.max_steps=1"])).model.model.layers) == 1
    changed = [nested, "model.config.num_hidden_layers=3", "trainer.max_steps=1"]
    assert len(finetune(load_recipe(recipe, changed)).model.model.layers) == 3
    with pytest.raises(RecipeError, match="model.config.num_layer: .* did you mean"):
        finetune(load_recipe(recipe, [nested, "model.config.num_layer=3"]))


def test_the_tokenizer_is_saved_though_nothing_asks_for_it(recipe: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert main([str(recipe), "trainer.max_steps=3"]) == 0  # counting sequences need none
    for folder in (recipe.parent / "out", recipe.parent / "out" / "checkpoint-3"):
        assert (folder / "tokenizer.json").is_file() and (folder / "tokenizer_config.json").is_file()
    assert json.loads((folder / "config.json").read_text())["bos_token_id"] == 1  # not what the tokenizer has
    bare = tmp_path / "bare"
    shutil.copytree(checkpoint, bare, ignore=shutil.ignore_patterns("tokenizer*"))
    section = {"model": {"pretrained_model_name_or_path": str(bare)}}
    assert load_tokenizer(section, needed=False) is None
    with pytest.raises(RecipeError, match="no section 'tokenizer', and .* has none"):
        load_tokenizer(section, needed=True)
    named = {"_target_": "transformers.LlamaTokenizer.from_pretrained", "pretrained_model_name_or_path": str(bare)}
    with pytest.raises(RecipeError, match="tokenizer.pretrained_model_name_or_path: .* has no tokenizer"):
        load_tokenizer({**section, "tokenizer": named}, needed=False)


def test_a_tokenizer_that_cannot_be_loaded_is_told(checkpoint: Path, tmp_path: Path, capsys) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (broken / "tokenizer.json").write_text("{")
    section = {"model": {"pretrained_model_name_or_path": str(broken)}}
    assert load_tokenizer(section, needed=False) is None
    assert "cannot be loaded" in capsys.readouterr().err
    with pytest.raises(RecipeError, match="tokenizer: the tokenizer of .* cannot be loaded"):
        load_tokenizer(section, needed=True)


@pytest.fixture
def with_code(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of an unknown type that brings a Python file, which leaves a mark where it runs."""
    folder, mark = tmp_path / "with_code", tmp_path / "ran"
    shutil.copytree(checkpoint, folder)
    text = (folder / "config.json").read_text()
    added = '"auto_map": {"AutoConfig": "config_of_ours.Config"}, "model_type": "no_such_type"'
    (folder / "config.json").write_text(text.replace('"model_type": "llama"', added))
    source = f"open({str(mark)!r}, 'w')\nfrom transformers import LlamaConfig\nclass Config(LlamaConfig): pass\n"
    (folder / "config_of_ours.py").write_text(source)
    return folder


def test_code_in_a_checkpoint_runs_only_with_the_flag(recipe: Path, with_code: Path, tmp_path: Path) -> None:
    changed = load_recipe(recipe, [f"{WEIGHTS}={with_code}", "trainer.max_steps=1"])
    with pytest.raises(RecipeError, match=f"{WEIGHTS}: .* brings Python files of its own: say --trust"):
        finetune(changed)
    assert not (tmp_path / "ran").exists()
    check_model(changed["model"], Allowed(remote_code=True))
    assert (tmp_path / "ran").exists()


def test_an_evaluation_set_is_evaluated_at_the_end(recipe: Path) -> None:
    evaluation = "eval_dataset={_target_: nemo_automodel.recipes.data.MockDataset, samples: 4, sequence_length: 8}"
    trainer = finetune(load_recipe(recipe, [evaluation, "trainer.max_steps=1"]))
    assert [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry] == [1]
