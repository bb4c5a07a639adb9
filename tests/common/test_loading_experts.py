"""Checkpoints of routed experts from the disk: read in place or by transformers' loader, quantised, and broken."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import FineGrainedFP8Config

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.components.models.common.checkpoint import expert_loading
from tests.common.tiny import batch
from tests.common.tiny_experts import (
    DISK,
    EXPERT,
    TinyExpertsForCausalLM,
    TinyExpertsModel,
    rewrite,
    tiny_experts,
)

FORMS = [{"stored": False}, {"stored": True}]
pytestmark = pytest.mark.usefixtures("registered_experts")


def load(path, **kwargs):
    return NeMoAutoModelForCausalLM.from_pretrained(path, **kwargs)


def assert_equal(left, right, dtype=None):
    left, right = left.state_dict(), right.state_dict()
    assert set(left) == set(right)
    for name, tensor in left.items():
        other = right[name] if dtype is None else right[name].to(tensor.dtype)
        assert torch.equal(tensor, other), name


@pytest.mark.parametrize("projections", ["split", "packed"])
@pytest.mark.parametrize("shards", ["20KB", "5GB"])
@pytest.mark.parametrize("form", FORMS)
def test_what_was_saved_is_loaded_in_place(form, shards, projections, tmp_path, only_in_place):
    model = tiny_experts(projections, **form)
    model.save_pretrained(tmp_path, max_shard_size=shards)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 3) == (shards == "20KB")
    loaded, info = load(tmp_path, backend={"projections": projections}, output_loading_info=True)
    assert_equal(loaded, model)
    assert not any(info.values())
    assert all(parameter.requires_grad and parameter.is_contiguous() for parameter in loaded.parameters())
    assert torch.equal(loaded(**batch()).logits, model(**batch()).logits)


@pytest.mark.parametrize("form", FORMS)
def test_transformers_loader_gives_the_same(form, tmp_path, never_in_place):
    model = tiny_experts(**form)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert_equal(load(tmp_path), model)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_dtypes_and_parameters_pinned_to_float32(dtype, form, tmp_path, only_in_place):
    model = tiny_experts(**form)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path, dtype=dtype)
    for name, parameter in loaded.named_parameters():
        assert parameter.dtype == (torch.float32 if "correction_bias" in name else dtype), name
    assert_equal(loaded, model, dtype=True)
    pinned = load(tmp_path, dtype=dtype, pinned=True)
    experts = pinned.model.blocks[0].mlp.experts
    assert experts.down_proj.dtype == torch.float32 and pinned.lm_head.weight.dtype == dtype
    assert torch.equal(experts.down_proj, model.model.blocks[0].mlp.experts.down_proj)


def test_experts_pinned_by_name(tmp_path, monkeypatch, only_in_place):
    monkeypatch.setattr(TinyExpertsForCausalLM, "_keep_in_fp32_modules_strict", ["experts.down_proj"])
    tiny_experts().save_pretrained(tmp_path)
    experts = load(tmp_path, dtype=torch.bfloat16).model.blocks[0].mlp.experts
    assert (experts.down_proj.dtype, experts.gate_up_proj.dtype) == (torch.float32, torch.bfloat16)


def test_keys_and_shards_in_any_order(tmp_path, only_in_place):
    model = tiny_experts()
    model.save_pretrained(tmp_path)
    tensors = list(load_file(tmp_path / "model.safetensors").items())
    (tmp_path / "model.safetensors").unlink()
    random.Random(3).shuffle(tensors)
    index = {}
    for number in range(4):
        file = f"model-{4 - number:05}-of-00004.safetensors"
        share = dict(tensors[number::4])
        save_file(share, tmp_path / file, {"format": "pt"})
        index.update(dict.fromkeys(share, file))
    text = json.dumps({"metadata": {}, "weight_map": index})
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert_equal(load(tmp_path), model)


def test_tied_weights(tmp_path, only_in_place):
    model = tiny_experts(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert_equal(loaded, model)


def test_base_models_and_models_with_a_head_load_each_other(tmp_path, only_in_place):
    model = tiny_experts()
    model.save_pretrained(tmp_path / "head")
    base = TinyExpertsModel.from_pretrained(tmp_path / "head")
    assert_equal(base, model.model)
    base.save_pretrained(tmp_path / "base")
    assert_equal(TinyExpertsForCausalLM.from_pretrained(tmp_path / "base").model, model.model)


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, torch.device("cpu")])
def test_maps_of_one_device(device_map, tmp_path, only_in_place):
    model = tiny_experts()
    model.save_pretrained(tmp_path)
    assert_equal(load(tmp_path, device_map=device_map), model)


def test_disk_offload_goes_through_transformers(tmp_path):
    model = tiny_experts()
    model.save_pretrained(tmp_path)
    load(tmp_path, device_map=DISK, offload_folder=tmp_path / "offload")
    name = "model.blocks.1.mlp.experts.gate_up_proj"
    offloaded = load_file(tmp_path / "offload" / f"{name}.safetensors")[name]
    assert torch.equal(offloaded, model.get_parameter(name))


@pytest.mark.parametrize("form", FORMS)
def test_without_mapping_files(form, tmp_path, only_in_place):
    model = tiny_experts(**form)
    model.save_pretrained(tmp_path)
    assert_equal(load(tmp_path, disable_mmap=True), model)


def test_quantizers_of_the_caller_are_transformers_business(tmp_path, monkeypatch):
    tiny_experts().save_pretrained(tmp_path)
    seen = []

    def refuse(*args, **kwargs):
        seen.append(args)
        raise NotImplementedError

    monkeypatch.setattr("transformers.modeling_utils.get_hf_quantizer", refuse)
    given = FineGrainedFP8Config(dequantize=True)
    with pytest.raises(NotImplementedError):
        load(tmp_path, quantization_config=given)
    assert given in seen[0]


def test_key_mappings_of_the_caller(tmp_path):
    model = tiny_experts()
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: {name.replace("experts", "specialists"): t for name, t in tensors.items()})
    assert_equal(load(tmp_path, key_mapping={"specialists": "experts"}), model)


def test_state_dicts_given_by_the_caller():
    model = tiny_experts()
    disk = model.state_dict_adapter.to_hf(model.state_dict())
    loaded = TinyExpertsForCausalLM.from_pretrained(None, config=model.config, state_dict=disk)
    assert_equal(loaded, model)


@pytest.mark.parametrize("form", FORMS)
def test_load_state_dict_takes_names_of_disk_and_of_memory(form):
    model = tiny_experts(**form)
    memory = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for state_dict in (memory, model.state_dict_adapter.to_hf(memory)):
        other = tiny_experts(seed=1, **form)
        other.load_state_dict(state_dict)
        assert_equal(other, model)


def test_load_state_dict_counts_experts():
    model = tiny_experts()
    disk = model.state_dict_adapter.to_hf(model.state_dict())
    del disk[EXPERT.format(1, 11, "w2")]
    with pytest.raises(ValueError, match=r"missing 11"):
        model.load_state_dict(disk, strict=False)


def drop(*places):
    return lambda tensors: {n: t for n, t in tensors.items() if n not in [EXPERT.format(*place) for place in places]}


def add(layer, index, tensor=None):
    """The second matrix of an expert 1 (or `tensor`) once more, as that of another."""

    def change(tensors):
        copied = tensors[EXPERT.format(layer, 1, "w2")].clone()
        return {**tensors, EXPERT.format(layer, index, "w2"): copied if tensor is None else tensor}

    return change


FAULTS = {
    "missing": (drop((1, 3, "w3")), r"w3.weight: not those of 12 experts: missing 3$"),
    "all of the last": (drop(*((0, 11, name) for name in ("w1", "w2", "w3"))), "missing 11$"),
    "surplus": (add(0, 12), "surplus 12$"),
    "twice": (add(0, "01"), r"more than once .*experts\.01\.w2\.weight, .*experts\.1\.w2\.weight$"),
    "unlike": (add(0, 5, torch.zeros(32, 7)), r"w2.weight is of \(32, 7\), \(32, 32\), which do not stack"),
}


@pytest.mark.parametrize("route", ["in place", "transformers"])
@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_experts_are_listed(fault, route, tmp_path, monkeypatch):
    if route == "transformers":
        monkeypatch.setattr(expert_loading, "_fills_in_place", lambda *_: False)
    change, message = FAULTS[fault]
    tiny_experts().save_pretrained(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(ValueError, match=f"(?m){message}") as caught:
        load(tmp_path)
    assert "block_sparse_moe.experts" in str(caught.value)


def test_a_config_of_another_count_is_told(tmp_path):
    tiny_experts(num_experts=6).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not those of 8 experts(.|\n)*missing 6-7"):
        load(tmp_path, num_experts=8)


def test_experts_of_another_shape_are_named_by_the_entry_point(tmp_path):
    tiny_experts().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"moe.experts.0.w2.weight: on disk \(32, 32\), in the model \(32, 16\)"):
        load(tmp_path, moe_intermediate_size=16)
    loaded = load(tmp_path, moe_intermediate_size=16, ignore_mismatched_sizes=True)
    assert loaded.model.blocks[0].mlp.experts.down_proj.shape == (12, 32, 16)


def test_a_layer_without_any_experts_is_reported_missing(tmp_path):
    tiny_experts().save_pretrained(tmp_path)
    rewrite(tmp_path, lambda tensors: {name: t for name, t in tensors.items() if "blocks.1.block_sparse" not in name})
    with pytest.raises(
        ValueError, match=r"blocks\.1\.block_sparse_moe\.experts\.0\.w2\.weight.*: the checkpoint has none"
    ):
        load(tmp_path)


def cut(file):
    with open(file, "r+b") as stream:
        stream.truncate(file.stat().st_size - 10)


BROKEN = {
    "truncated": (cut, "00002-of-.* is cut short: .* bytes; fetch or write the file again"),
    "empty": (lambda file: file.write_bytes(b""), "00002-of-.* ends inside its header: 0 bytes"),
    "cut in its header": (lambda file: file.write_bytes(file.read_bytes()[:30]), "ends inside its header: 30 bytes"),
    "another format": (lambda file: file.write_bytes((4).to_bytes(8, "little") + b"nope"), "is no safetensors file"),
    "gone": (lambda file: file.unlink(), "00002-of-"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_shards_are_named(fault, tmp_path):
    break_it, message = BROKEN[fault]
    tiny_experts().save_pretrained(tmp_path, max_shard_size="30KB")
    break_it(sorted(tmp_path.glob("*.safetensors"))[1])
    with pytest.raises((ValueError, OSError), match=message):
        load(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    tiny_experts().save_pretrained(tmp_path, max_shard_size="60KB")
    first, second = sorted(tmp_path.glob("*.safetensors"))[:2]
    name, tensor = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: tensor}, second, {"format": "pt"})
    with pytest.raises(ValueError, match=f"stand in two files .*: {name}"):
        load(tmp_path)


def test_values_arrive_bit_for_bit(tmp_path, only_in_place):
    """NaN and negative zero included, and two experts swapped on disk are swapped in memory."""
    model = tiny_experts()
    model.model.blocks[0].mlp.experts.down_proj.data[4, :2, 0] = torch.tensor([float("nan"), -0.0])
    model.save_pretrained(tmp_path)

    def swap(tensors):
        one, two = EXPERT.format(1, 2, "w1"), EXPERT.format(1, 10, "w1")
        tensors[one], tensors[two] = tensors[two], tensors[one]

    rewrite(tmp_path, swap)
    loaded = load(tmp_path)
    ours = loaded.model.blocks[0].mlp.experts.down_proj
    assert torch.equal(ours.view(torch.int32), model.model.blocks[0].mlp.experts.down_proj.view(torch.int32))
    assert torch.equal(
        loaded.model.blocks[1].mlp.experts.gate_up_proj[2, :32], model.model.blocks[1].mlp.experts.gate_up_proj[10, :32]
    )
