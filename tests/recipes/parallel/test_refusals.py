"""What cannot be parallel is refused at its key, with the reason, before anything is loaded."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    PreTrainedConfig,
    Qwen3MoeConfig,
)

from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import finetune
from nemo_automodel.recipes.mistakes import RecipeError
from nemo_automodel.recipes.parallel.refusals import check_parallel
from nemo_automodel.recipes.parallel.sizes import NAMES, Sizes, sizes_of
from nemo_automodel.recipes.parallel.stages import layers_of
from nemo_automodel.recipes.targets import CHAT

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, **HEADS}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 6, "num_experts_per_tok": 2}
LONG = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
LLAMA, MIXTURE = LlamaConfig(**SIZES), Qwen3MoeConfig(**SIZES, **EXPERTS)
REFUSED: list[tuple[str, PreTrainedConfig, dict[str, int], str]] = [
    ("heads", LLAMA, {"tp": 4}, "parallel.tp: 4 does not divide the 2 heads of keys and values"),
    ("widths", LlamaConfig(**{**SIZES, "intermediate_size": 49}), {"tp": 2}, "parallel.tp: .*mlp.gate_proj has 49 col"),
    (
        "no plan",
        GPT2Config(n_layer=2, n_embd=32, n_head=2),
        {"tp": 2},
        "parallel.tp: .* declares no base_model_tp_plan",
    ),
    ("no experts", LLAMA, {"ep": 2}, "parallel.ep: LlamaForCausalLM has no experts to spread; take dp_shard"),
    ("experts", MIXTURE, {"ep": 4}, "parallel.ep: 4 does not divide the 6 experts of a layer"),
    ("tied", LlamaConfig(**SIZES, tie_word_embeddings=True), {"pp": 2}, "parallel.pp: embedding and head are tied"),
    ("layers", LLAMA, {"pp": 4}, "parallel.pp: 2 layers do not make 4 stages"),
    (
        "micro",
        LLAMA,
        {"pp": 2, "batch": 1},
        "parallel.pp: trainer.per_device_train_batch_size is 1, .* write 2 or more",
    ),
    ("no stages", GPT2Config(n_layer=2, n_embd=32, n_head=2), {"pp": 2}, "parallel.pp: .* no base_model_pp_plan"),
    ("caps", Gemma2Config(**SIZES), {"cp": 2}, "parallel.cp: attention is gathered for sdpa alone.*'eager'"),
    ("sinks", GptOssConfig(**SIZES, num_local_experts=4), {"cp": 2}, "parallel.cp: attention with sinks"),
    ("states", MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2), {"cp": 2}, "parallel.cp: a state goes"),
    (
        "alibi",
        BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4),
        {"cp": 2},
        "parallel.cp: ALiBi's biases",
    ),
    (
        "tables",
        LlamaConfig(**SIZES, rope_parameters=LONG),
        {"cp": 2},
        "parallel.cp: the rotary table depends on the len",
    ),
    (
        "balance",
        Qwen3MoeConfig(**SIZES, **EXPERTS, output_router_logits=True),
        {"cp": 2},
        "parallel.cp: the load-balanc",
    ),
    (
        "stage balance",
        Qwen3MoeConfig(**SIZES, **EXPERTS, output_router_logits=True),
        {"pp": 2},
        "parallel.pp: the load-b",
    ),
]


def arguments(world: int, batch: int = 4) -> Any:
    return SimpleNamespace(world_size=world, per_device_train_batch_size=batch)


def recipe_of(folder: Path, config: PreTrainedConfig, **sizes: int) -> dict[str, Any]:
    config.save_pretrained(folder)
    model = {"_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_config", "config": str(folder)}
    return {"model": model, "optimizer": {}, "parallel": sizes}


@pytest.mark.parametrize("config, sizes, said", [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_a_model_does_not_allow(
    tmp_path: Path, config: PreTrainedConfig, sizes: dict[str, int], said: str
) -> None:
    sizes = dict(sizes)
    batch = sizes.pop("batch", 4)
    (count,) = sizes.values()
    with pytest.raises(RecipeError, match=said):
        check_parallel(recipe_of(tmp_path, config, **sizes), arguments(count, batch))


def test_what_it_allows(tmp_path: Path) -> None:
    """The numbers of the model are not made: it may be larger than the machine."""
    huge = Qwen3MoeConfig(hidden_size=65536, num_hidden_layers=4, num_experts=128, moe_intermediate_size=8192)
    shape = {"tp": 2, "ep": 4, "pp": 4, "cp": 2, "dp_replicate": 2}
    check_parallel(recipe_of(tmp_path, huge, **shape), arguments(256))


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"peft": {"_target_": "peft.LoraConfig"}}, "parallel.tp: adapters do not know of cut or spread layers"),
        ({"model": {"_target_": "nemo_automodel.NeMoAutoModelForImageTextToText.from_config"}}, "of text alone"),
    ],
)
def test_what_goes_with_shards_alone(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_parallel({**recipe_of(tmp_path, LLAMA, tp=2), **changed}, arguments(2))
    check_parallel({**recipe_of(tmp_path, LLAMA, dp_shard=2), **changed}, arguments(2))


def test_stages_of_frozen_layers_have_no_gradients(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="parallel.pp: a stage of frozen layers alone"):
        check_parallel({**recipe_of(tmp_path, LLAMA, pp=2), "freeze": ["*embed*"]}, arguments(2))


def test_another_class_has_no_plan_that_is_known(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, LLAMA, tp=2)
    recipe["model"]["_target_"] = "transformers.AutoModelForCausalLM.from_config"
    with pytest.raises(
        RecipeError, match="parallel.tp: is for generated models: take nemo_automodel.NeMoAutoModelForCausalLM"
    ):
        check_parallel(recipe, arguments(2))


@pytest.mark.parametrize(
    "section, said",
    [
        ({"tp": 3}, "parallel: tp 3 is 3, and there are 8 processes: start 3, or a multiple of it"),
        ({"tp": 2, "dp_shard": 2}, r"parallel: tp 2 x dp_shard 2 is 4, and there are 8 processes: start 4 \("),
        ({"tensor": 2}, "parallel.tensor: a mesh has no such field"),
        ({"dp_shards": 2}, "parallel.dp_shards: a mesh has no such field; did you mean 'dp_shard'"),
        ({"tp": 0}, "parallel.tp: expected an integer of 1 or more, got 0"),
        ({"tp": True}, "parallel.tp: expected an integer of 1 or more, got True"),
        ({"cp": "two"}, "parallel.cp: expected an integer of 1 or more, got 'two'"),
    ],
)
def test_sizes_that_are_none(section: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        sizes_of({"parallel": section}, 8)


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 4)), st.integers(1, 6))
def test_shards_take_what_is_left(section: dict[str, int], left: int) -> None:
    section.pop("dp_shard", None)
    world = left * Sizes(**section).batches * Sizes(**section).sharing
    sizes = sizes_of({"parallel": section}, world)
    assert sizes == Sizes(**section, dp_shard=left)
    assert sizes.batches * sizes.sharing == world


@given(st.integers(1, 9), st.integers(0, 40))
def test_every_layer_stands_in_one_stage_and_none_in_many_more(stages: int, layers: int) -> None:
    parts = [layers_of(stage, stages, layers) for stage in range(stages)]
    assert [index for part in parts for index in part] == list(range(layers))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"dataset": {"_target_": CHAT}}, "parallel: conversations are trained on sharded models alone"),
        ({"quantization": {}}, "parallel: does not go with the section quantization"),
        ({"fp8": {}}, "parallel: does not go with the section fp8"),
        ({"compile": {}}, "parallel: does not go with the section compile"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_several_processes_train_by_shards_alone(recipe: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_parallel({"parallel": {"dp_shard": 2}, **recipe}, SimpleNamespace(world_size=2))


def test_it_is_refused_before_weights_are_read(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, two asked for: no tensor is looked at."""
    monkeypatch.setattr("safetensors.safe_open", lambda *_, **__: pytest.fail("weights were opened"))
    with pytest.raises(RecipeError, match="parallel: tp 2 is 2, and there are 1 processes"):
        finetune(load_recipe(recipe, ["parallel.tp=2"]))
    assert not torch.distributed.is_initialized()
