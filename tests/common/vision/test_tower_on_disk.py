"""Towers whose tensors lie otherwise on disk than in transformers' class: names, fused rows, rotary pairs, by hand."""

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig
from transformers.core_model_loading import revert_weight_conversion

from nemo_automodel.components.models.common.checkpoint.loading import conversions
from nemo_automodel.components.models.common.checkpoint.pieces import Pieces
from nemo_automodel.components.models.common.vision.adapter import ImageTextStateDictAdapter
from nemo_automodel.components.models.llama.state_dict_adapter import LlamaStateDictAdapter


class Blocks(ImageTextStateDictAdapter):
    """What one norm is called on disk the other is in memory, q, k and v are one matrix, and q and k turn in pairs."""

    text_adapter = LlamaStateDictAdapter
    names = {
        "language_model.model": "model.language_model",
        "vision_tower": "model.vision_tower",
        "mm_projector": "model.mm_projector",
        "mm_projector.proj.0": "model.mm_projector.in_proj",
    }
    tower_names = {
        "encoder.blocks": "layers",
        "norm0": "norm1",
        "norm1": "norm2",
        "wo": "attn.proj",
        "pos.weight": "pos.table",
    }
    tower_fused = {"wqkv": ("attn.q_proj", "attn.k_proj", "attn.v_proj")}
    tower_pairs = ("attn.q_proj", "attn.k_proj")


class Swapped(Blocks):
    """Two names that change places."""

    tower_names = {"first": "second", "second": "first"}
    tower_fused, tower_pairs = {}, ()


class Pairs(Blocks):
    """Rows in pairs alone, under the same names."""

    tower_names, tower_fused = {}, {}


class WordsAgain(Blocks):
    """A name on disk that holds its own name in memory, around a fused tensor."""

    tower_names = {"encoder.layers": "layers"}


TOWER = "vision_tower.encoder.blocks.0"
DISK = {
    f"{TOWER}.norm0.weight": [1.0],
    f"{TOWER}.norm1.weight": [2.0],
    f"{TOWER}.wo.weight": [3.0],
    # two heads of four rows; 10 h + i is row i of head h, in the order of the class: 0 and 2 turn together, 1 and 3
    f"{TOWER}.wqkv.bias": [
        *[0.0, 2.0, 1.0, 3.0, 10.0, 12.0, 11.0, 13.0],
        *[100.0, 102.0, 101.0, 103.0, 110.0, 112.0, 111.0, 113.0],
        *[200.0, 201.0, 202.0, 203.0, 210.0, 211.0, 212.0, 213.0],
    ],
    "vision_tower.pos.weight": [4.0],
    "language_model.model.layers.0.norm1.weight": [5.0],
    "mm_projector.pre_norm.weight": [6.0],
    "mm_projector.proj.0.weight": [7.0],
}
ROWS = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0]
MEMORY = {
    "model.vision_tower.layers.0.norm1.weight": [1.0],
    "model.vision_tower.layers.0.norm2.weight": [2.0],
    "model.vision_tower.layers.0.attn.proj.weight": [3.0],
    "model.vision_tower.layers.0.attn.q_proj.bias": ROWS,
    "model.vision_tower.layers.0.attn.k_proj.bias": [100 + row for row in ROWS],
    "model.vision_tower.layers.0.attn.v_proj.bias": [200 + row for row in ROWS],
    "model.vision_tower.pos.table": [4.0],
    "model.language_model.layers.0.norm1.weight": [5.0],
    "model.mm_projector.pre_norm.weight": [6.0],
    "model.mm_projector.in_proj.weight": [7.0],
}


def made(layout):
    vision = CLIPVisionConfig(hidden_size=8, num_attention_heads=2)
    return layout(LlavaConfig(text_config=LlamaConfig(), vision_config=vision), {"projections": "split"})


def tensors(values):
    return {name: torch.tensor(numbers) for name, numbers in values.items()}


def numbers(state_dict):
    return {name: tensor.tolist() for name, tensor in state_dict.items()}


def shapes(values):
    return {name: torch.Size([len(one)]) for name, one in values.items()}


def test_from_the_disk():
    assert numbers(made(Blocks).from_hf(tensors(DISK))) == MEMORY


def test_to_the_disk():
    assert numbers(made(Blocks).to_hf(tensors(MEMORY))) == DISK


def test_matrices_turn_like_biases():
    rows = torch.tensor(DISK[f"{TOWER}.wqkv.bias"])
    matrix = rows[:, None] + torch.arange(3) / 10
    memory = made(Blocks).from_hf({f"{TOWER}.wqkv.weight": matrix})
    q = memory["model.vision_tower.layers.0.attn.q_proj.weight"]
    assert torch.equal(q, torch.tensor(ROWS)[:, None] + torch.arange(3) / 10)
    assert torch.equal(made(Blocks).to_hf(memory)[f"{TOWER}.wqkv.weight"], matrix)


def test_a_tensor_alone_gives_its_rows():
    """And half of its heads theirs."""
    adapter, name = made(Blocks), "model.vision_tower.layers.0.attn.k_proj.bias"
    k = torch.tensor(MEMORY[name])
    ((disk, whole),) = adapter.convert_single_tensor_to_hf(name, k)
    assert disk == f"{TOWER}.wqkv.bias" and whole.tolist() == DISK[disk][8:16]
    halves = [adapter.convert_single_tensor_to_hf(name, half)[0][1] for half in k.chunk(2)]
    assert torch.equal(torch.cat(halves), whole)


def test_names_of_memory_pass():
    """A state dict in memory's names, in which `norm1` is no norm of the disk; of the base model's alone too."""
    adapter = made(Blocks)
    assert numbers(adapter.from_hf(tensors(MEMORY), shapes(MEMORY))) == MEMORY
    assert numbers(adapter.from_hf(tensors(DISK), shapes(MEMORY))) == MEMORY
    inner = {name.removeprefix("model."): value for name, value in MEMORY.items()}
    found = numbers(adapter.from_hf(tensors(inner), shapes(inner)))
    assert {name.removeprefix("model."): value for name, value in found.items()} == inner


def test_keys_of_lora_go_both_ways():
    adapter = made(Blocks)
    memory = {
        f"model.vision_tower.layers.0.{path}.lora_{side}.weight": [float(number)]
        for number, (path, side) in enumerate((path, side) for path in ("attn.q_proj", "attn.proj") for side in "AB")
    }
    disk = adapter.to_hf(tensors(memory))
    assert f"{TOWER}.attn.q_proj.lora_A.weight" in disk and f"{TOWER}.wo.lora_B.weight" in disk
    assert numbers(adapter.from_hf(disk)) == memory


def test_names_that_change_places():
    adapter = made(Swapped)
    disk = tensors({"vision_tower.first.weight": [1.0], "vision_tower.second.weight": [2.0]})
    memory = adapter.from_hf(disk)
    assert numbers(memory) == {"model.vision_tower.second.weight": [1.0], "model.vision_tower.first.weight": [2.0]}
    assert numbers(adapter.to_hf(memory)) == numbers(disk)
    assert numbers(adapter.from_hf(memory, {name: torch.Size([1]) for name in memory})) == numbers(memory)


def test_pairs_under_one_name():
    """The prefix tells the side; where it is the same, nothing does."""
    adapter = made(Pairs)
    name, disk = "attn.q_proj.bias", [0.0, 2.0, 1.0, 3.0]
    known = {f"model.vision_tower.{name}": torch.Size([4])}
    memory = adapter.from_hf(tensors({f"vision_tower.{name}": disk}), known)
    assert numbers(memory) == {f"model.vision_tower.{name}": [0.0, 1.0, 2.0, 3.0]}
    assert numbers(adapter.to_hf(memory)) == {f"vision_tower.{name}": disk}
    with pytest.raises(ValueError, match="names and shapes do not tell disk from memory"):
        adapter.from_hf(memory, known)


def test_fused_rows_that_do_not_divide_are_no_tensor_of_the_model():
    sources = made(Blocks).sources({f"{TOWER}.wqkv.bias": None})
    assert [*sources] == [f"model.vision_tower.layers.0.attn.{part}_proj.bias" for part in "qkv"]
    stored = {f"{TOWER}.wqkv.bias": torch.empty(23)}
    assert [source.shape(stored) for source in sources.values()] == [torch.Size([8]), torch.Size([8]), torch.Size([7])]


def test_pieces_need_a_way_back():
    with pytest.raises(ValueError, match="norm: two pieces of names on disk become one in memory"):
        Pieces((("norm0", "norm"), ("norm1", "norm")))


@pytest.mark.parametrize("layout", [Blocks, WordsAgain])
def test_transformers_saver_writes_the_same(layout):
    """Which renames what a conversion made, since 5.21, or has it renamed already."""
    adapter = made(layout)
    memory = tensors(MEMORY)

    class Model:
        _weight_conversions = conversions([rule for rule in adapter.active if rule.is_written])
        config = None

    saved = revert_weight_conversion(Model(), dict(memory))
    assert numbers(saved) == numbers(adapter.to_hf(memory))
