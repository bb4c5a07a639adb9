"""Rules of routed experts: what each makes of known rows, exact inverses in all four ways, shards, wrong indices."""

import random

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, init_device_mesh
from transformers.core_model_loading import MergeModulelist, convert_and_load_state_dict_in_model
from transformers.core_model_loading import revert_weight_conversion as to_disk
from transformers.modeling_utils import LoadStateDictConfig

from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.expert_rules import StackExperts, StoredExperts
from nemo_automodel.components.models.common.checkpoint.loading import conversions, load_operation
from nemo_automodel.components.models.common.checkpoint.rules import Rename, Unsqueeze

EXPERTS, WIDTH, HIDDEN = 4, 3, 5
GATE_UP = StackExperts("mlp.experts", ("gate_proj", "up_proj"), "gate_up_proj")
DOWN = StackExperts("mlp.experts", ("down_proj",), "down_proj")


def adapter(*rules):
    return type("Adapter", (StateDictAdapter,), {"rules": lambda self, config: rules})(None)


def memory_of(experts=EXPERTS, width=WIDTH, hidden=HIDDEN):
    """Each row [e, half, i] filled with the number 100 e + 10 half + i."""
    e, half, i = torch.arange(experts), torch.arange(2), torch.arange(width)
    numbers = 100 * e[:, None, None] + 10 * half[None, :, None] + i
    return numbers.flatten(1).unsqueeze(-1).expand(-1, -1, hidden).float().contiguous()


def per_expert(experts=EXPERTS, prefix="layers.0.", parts=("gate_proj", "up_proj", "down_proj"), biases=False):
    torch.manual_seed(0)
    shapes = dict(zip(parts, [(WIDTH, HIDDEN), (WIDTH, HIDDEN), (HIDDEN, WIDTH)], strict=True))
    names = [(e, part) for e in range(experts) for part in parts]
    disk = {f"{prefix}mlp.experts.{e}.{part}.weight": torch.randn(shapes[part]) for e, part in names}
    if biases:
        disk |= {f"{prefix}mlp.experts.{e}.{part}.bias": torch.randn(shapes[part][0]) for e, part in names}
    return disk


def assert_same(left, right):
    assert set(left) == set(right)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_stacked_experts_lie_in_their_order_gate_above_up():
    disk = per_expert(experts=12)  # more than ten: "10" sorts before "2"
    shuffled = list(disk.items())
    random.Random(0).shuffle(shuffled)
    memory = adapter(GATE_UP, DOWN).from_hf(dict(shuffled))
    assert set(memory) == {"layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.down_proj"}
    gate_up = memory["layers.0.mlp.experts.gate_up_proj"]
    assert gate_up.shape == (12, 2 * WIDTH, HIDDEN) and gate_up.is_contiguous()
    for e in range(12):
        assert torch.equal(gate_up[e, :WIDTH], disk[f"layers.0.mlp.experts.{e}.gate_proj.weight"])
        assert torch.equal(gate_up[e, WIDTH:], disk[f"layers.0.mlp.experts.{e}.up_proj.weight"])
        assert torch.equal(
            memory["layers.0.mlp.experts.down_proj"][e], disk[f"layers.0.mlp.experts.{e}.down_proj.weight"]
        )


def test_other_names_and_biases():
    parts = ("w1", "w3", "w2")
    rules = adapter(
        Rename("block_sparse_moe", "mlp"),
        StackExperts("mlp.experts", ("w1", "w3"), "gate_up_proj", biases=True),
        StackExperts("mlp.experts", ("w2",), "down_proj", biases=True),
    )
    disk = {n.replace("mlp", "block_sparse_moe"): t for n, t in per_expert(parts=parts, biases=True).items()}
    memory = rules.from_hf(disk)
    stacked = "layers.0.mlp.experts"
    assert set(memory) == {f"{stacked}.{n}{b}" for n in ("gate_up_proj", "down_proj") for b in ("", "_bias")}
    assert memory[f"{stacked}.gate_up_proj_bias"].shape == (EXPERTS, 2 * WIDTH)
    third = disk["layers.0.block_sparse_moe.experts.3.w3.bias"]
    assert torch.equal(memory[f"{stacked}.gate_up_proj_bias"][3, WIDTH:], third)
    assert_same(rules.to_hf(memory), disk)


def test_plain_experts_and_shared_ones_beside_them():
    rules = adapter(StackExperts("mlp.experts", ("up_proj",), "up_proj"))
    disk = {f"mlp.experts.{e}.up_proj.weight": torch.randn(2, 3) for e in range(3)}
    disk["mlp.shared_experts.up_proj.weight"] = torch.randn(2, 3)
    memory = rules.from_hf(disk)
    assert memory["mlp.experts.up_proj"].shape == (3, 2, 3)
    assert memory["mlp.shared_experts.up_proj.weight"] is disk["mlp.shared_experts.up_proj.weight"]
    assert_same(rules.to_hf(memory), disk)


INTERLEAVED = [half * 10 + i for i in range(WIDTH) for half in (0, 1)]
STORED = {
    "concatenated": ({}, [0, 1, 2, 10, 11, 12]),
    "up first": ({"order": ("up", "gate")}, [10, 11, 12, 0, 1, 2]),
    "interleaved": ({"groups": WIDTH}, INTERLEAVED),
    "interleaved, up first": ({"groups": WIDTH, "order": ("up", "gate")}, [10, 0, 11, 1, 12, 2]),
}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", STORED)
def test_stored_experts_from_every_layout(name, transposed, flat):
    keys, rows = STORED[name]
    rule = StoredExperts("x.w", "x.gate_up_proj", transposed=transposed, flat=EXPERTS if flat else None, **keys)
    disk = (100 * torch.arange(EXPERTS)[:, None] + torch.tensor(rows)).float()
    disk = disk.unsqueeze(-1).expand(-1, -1, HIDDEN)
    disk = disk.transpose(1, 2) if transposed else disk
    disk = disk.flatten(0, 1) if flat else disk
    memory = rule.load([[disk]])
    assert torch.equal(memory, memory_of()) and memory.is_contiguous()
    assert torch.equal(rule.save(memory)[0][0], disk)


def test_two_groups_of_two_rows():
    """Where groups and halves are as many, their dimensions must still not be taken for each other."""
    rule = StoredExperts("x.w", "x.gate_up_proj", groups=2, order=("up", "gate"))
    disk = torch.tensor([10, 11, 0, 1, 12, 13, 2, 3.0]).view(1, 8, 1)
    assert rule.load([[disk]]).flatten().tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert torch.equal(rule.save(rule.load([[disk]]))[0][0], disk)


def test_a_pair_in_two_flat_tensors():
    rules = adapter(
        StoredExperts(("experts.mlp.w1", "experts.mlp.v1"), "experts.gate_up_proj", flat=EXPERTS),
        StoredExperts("experts.mlp.w2", "experts.down_proj", flat=EXPERTS, transposed=True),
    )
    disk = {f"ffn.experts.mlp.{n}": torch.randn(EXPERTS * WIDTH, HIDDEN) for n in ("w1", "v1", "w2")}
    memory = rules.from_hf(disk)
    rows = slice(2 * WIDTH, 3 * WIDTH)
    assert torch.equal(memory["ffn.experts.gate_up_proj"][2, :WIDTH], disk["ffn.experts.mlp.w1"][rows])
    assert torch.equal(memory["ffn.experts.gate_up_proj"][2, WIDTH:], disk["ffn.experts.mlp.v1"][rows])
    assert torch.equal(memory["ffn.experts.down_proj"][2], disk["ffn.experts.mlp.w2"][rows].t())
    assert_same(rules.to_hf(memory), disk)


def interleaved_rules(experts="mlp.experts"):
    return adapter(
        StoredExperts(f"{experts}.gate_up_proj", f"{experts}.gate_up_proj", groups=WIDTH, transposed=True),
        StoredExperts(f"{experts}.down_proj", f"{experts}.down_proj", transposed=True),
    )


def test_biases_follow_the_rows_and_are_not_turned():
    rules = interleaved_rules()
    disk = {
        "mlp.experts.gate_up_proj": torch.randn(EXPERTS, HIDDEN, 2 * WIDTH),
        "mlp.experts.gate_up_proj_bias": torch.tensor([INTERLEAVED] * EXPERTS).float(),
        "mlp.experts.down_proj": torch.randn(EXPERTS, WIDTH, HIDDEN),
        "mlp.experts.down_proj_bias": torch.randn(EXPERTS, HIDDEN),
    }
    memory = rules.from_hf(disk)
    assert memory["mlp.experts.gate_up_proj_bias"][1].tolist() == [0, 1, 2, 10, 11, 12]
    assert torch.equal(memory["mlp.experts.gate_up_proj"][1, 0], disk["mlp.experts.gate_up_proj"][1, :, 0])
    assert torch.equal(memory["mlp.experts.down_proj_bias"], disk["mlp.experts.down_proj_bias"])
    assert_same(rules.to_hf(memory), disk)


def test_kept_names_go_by_the_shapes_of_turned_tensors():
    rules = interleaved_rules()
    disk = {
        "mlp.experts.gate_up_proj_bias": torch.randn(EXPERTS, 2 * WIDTH),
        "mlp.experts.gate_up_proj": torch.randn(EXPERTS, HIDDEN, 2 * WIDTH),
    }
    memory = rules.from_hf(disk)
    shapes = {name: tensor.shape for name, tensor in memory.items()}
    assert_same(rules.from_hf(memory, shapes), memory)
    assert_same(rules.from_hf(disk, shapes), memory)
    lone = {"mlp.experts.gate_up_proj_bias": disk["mlp.experts.gate_up_proj_bias"]}
    with pytest.raises(ValueError, match="gate_up_proj_bias: names and shapes do not tell disk from memory"):
        rules.from_hf(lone, shapes)


def test_experts_stored_as_they_are_need_no_rule():
    name = "mlp.experts.gate_up_proj"
    assert adapter(StoredExperts(name, name)).active == ()
    assert len(adapter(StoredExperts("input_linear.weight", name)).active) == 2


LAYOUTS = st.fixed_dictionaries(
    {
        "transposed": st.booleans(),
        "is_flat": st.booleans(),
        "groups": st.sampled_from(["one", "two", "rows"]),
        "order": st.sampled_from([("gate", "up"), ("up", "gate")]),
        "pair": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(LAYOUTS, st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_stored_rules_are_invertible_on_wholes_and_on_shards_of_experts(layout, experts, half_width, hidden):
    width = 2 * half_width
    pair = layout["pair"]
    groups = 1 if pair else {"one": 1, "two": 2, "rows": width}[layout["groups"]]
    rule = StoredExperts(
        ("a", "b") if pair else "a",
        "c",
        groups=groups,
        transposed=layout["transposed"],
        flat=experts if layout["is_flat"] else None,
        order=layout["order"],
    )
    memory = torch.randn(experts, 2 * width, hidden)
    disk = rule.save(memory)
    assert torch.equal(rule.load(disk), memory)
    if not layout["is_flat"]:
        shards = [rule.load([[part[e : e + 1]] for (part,) in disk]) for e in range(experts)]
        assert torch.equal(torch.cat(shards), memory)
    saved = [rule.save(memory[e : e + 1]) for e in range(experts)]
    for i, (part,) in enumerate(disk):
        assert torch.equal(torch.cat([shard[i][0] for shard in saved]), part)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 3), st.booleans(), st.integers(0, 5))
def test_stacked_rules_are_invertible_and_shards_convert_like_wholes(experts, width, parts, biased, cut):
    rule = StackExperts("m", tuple("abc"[:parts]), "s", tensor="bias" if biased else "weight")
    shape = (experts, parts * width) if biased else (experts, parts * width, 2)
    memory = torch.randn(shape)
    disk = rule.save(memory)
    assert [len(part) for part in disk] == [experts] * parts
    assert torch.equal(rule.load(disk), memory)
    cut = min(cut, experts - 1)
    shards = [rule.load([part[:cut] for part in disk])] if cut else []
    assert torch.equal(torch.cat([*shards, rule.load([part[cut:] for part in disk])]), memory)


def test_saved_parts_are_views():
    """An export of one tensor at a time must not copy it, and a loader fills memory through them."""
    memory = memory_of()
    for part in GATE_UP.save(memory):
        for expert in part:
            assert expert.is_contiguous()
            expert.fill_(7.0)
    assert (memory == 7).all()


class Experts(nn.Module):
    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape)))


def holder(**shapes):
    """A module with the parameters `mlp.experts.<name>`, as transformers' loader sees a model."""
    model = nn.Module()
    model.mlp = nn.Module()
    model.mlp.experts = Experts(**shapes)
    model.base_model_prefix, model.config = "model", None
    return model


FOUR_WAYS = {
    "stacked": (
        (GATE_UP, DOWN),
        {"gate_up_proj": (EXPERTS, 2 * WIDTH, HIDDEN), "down_proj": (EXPERTS, HIDDEN, WIDTH)},
    ),
    "stacked with biases": (
        (StackExperts("mlp.experts", ("w1", "w3"), "gate_up_proj", biases=True),),
        {"gate_up_proj": (EXPERTS, 2 * WIDTH, HIDDEN), "gate_up_proj_bias": (EXPERTS, 2 * WIDTH)},
    ),
    "interleaved": (
        (
            StoredExperts("mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj", groups=WIDTH, transposed=True),
            StoredExperts("mlp.experts.down_proj", "mlp.experts.down_proj", transposed=True),
        ),
        {
            "gate_up_proj": (EXPERTS, 2 * WIDTH, HIDDEN),
            "gate_up_proj_bias": (EXPERTS, 2 * WIDTH),
            "down_proj": (EXPERTS, HIDDEN, WIDTH),
            "down_proj_bias": (EXPERTS, HIDDEN),
        },
    ),
    "flat pair": (
        (
            StoredExperts(("mlp.experts.mlp.w1", "mlp.experts.mlp.v1"), "mlp.experts.gate_up_proj", flat=EXPERTS),
            StoredExperts("mlp.experts.mlp.w2", "mlp.experts.down_proj", flat=EXPERTS, transposed=True),
        ),
        {"gate_up_proj": (EXPERTS, 2 * WIDTH, HIDDEN), "down_proj": (EXPERTS, HIDDEN, WIDTH)},
    ),
    "called weight, outside the experts": (
        (
            StoredExperts("mlp.input_linear.weight", "mlp.experts.gate_up_proj"),
            StoredExperts("mlp.fc2.weight", "mlp.experts.down_proj", transposed=True),
        ),
        {"gate_up_proj": (EXPERTS, 2 * WIDTH, HIDDEN), "down_proj": (EXPERTS, HIDDEN, WIDTH)},
    ),
}


@pytest.mark.parametrize("name", FOUR_WAYS)
def test_four_ways_agree(name):
    rules, shapes = FOUR_WAYS[name]
    torch.manual_seed(0)
    memory = {f"mlp.experts.{n}": torch.randn(shape) for n, shape in shapes.items()}
    translated = adapter(*rules)
    disk = translated.to_hf(memory)
    assert all(tensor.is_contiguous() for tensor in disk.values())
    assert_same(translated.from_hf(disk), memory)
    single = [pair for n, tensor in memory.items() for pair in translated.convert_single_tensor_to_hf(n, tensor)]
    assert len(single) == len(disk)
    assert_same(dict(single), disk)

    model = holder(**shapes)
    config = LoadStateDictConfig(weight_mapping=conversions(translated.active), dtype=torch.float32)
    info, _ = convert_and_load_state_dict_in_model(model=model, state_dict=dict(disk), load_config=config)
    assert not (info.missing_keys or info.unexpected_keys or info.mismatched_keys or info.conversion_errors)
    assert_same(model.state_dict(), memory)
    model._weight_conversions = conversions(translated.active)
    assert_same(to_disk(model, model.state_dict()), disk)


DISTRIBUTED = {
    "stacked": StackExperts("m", ("gate", "up"), "s"),
    "turned and interleaved": StoredExperts("a", "b", groups=3, transposed=True),
    "flat pair": StoredExperts(("a", "c"), "b", flat=4),
    "flat and turned": StoredExperts("a", "b", flat=4, transposed=True),
}


def convert_dtensors(rank, store):
    """On each of two ranks: what a rule saves of a DTensor is what it saves of the whole, and loads back."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    memory = torch.arange(4 * 6 * 5.0).view(4, 6, 5)
    for dim in (0, 1, 2):
        sharded = distribute_tensor(memory, init_device_mesh("cpu", (2,)), [Shard(dim)])
        for name, rule in DISTRIBUTED.items():
            saved = rule.save(sharded)
            pairs = zip(sum(saved, []), sum(rule.save(memory), []), strict=True)
            assert all(isinstance(a, DTensor) and torch.equal(a.full_tensor(), b) for a, b in pairs), (name, dim)
            assert torch.equal(rule.load(saved).full_tensor(), memory), (name, dim)
    vector = distribute_tensor(torch.arange(6.0), init_device_mesh("cpu", (2,)), [Shard(0)])
    ((row,),) = Unsqueeze("v").save(vector)
    assert row.full_tensor().tolist() == [vector.full_tensor().tolist()]
    assert torch.equal(Unsqueeze("v").load([[row]]).full_tensor(), vector.full_tensor())
    dist.destroy_process_group()


def test_dtensors_convert_like_wholes(tmp_path):
    multiprocessing.start_processes(convert_dtensors, args=(tmp_path / "store",), nprocs=2, start_method="fork")


def test_the_loader_shards_counted_rules_by_expert():
    assert isinstance(load_operation(GATE_UP), MergeModulelist)
    assert not isinstance(load_operation(StoredExperts("a", "b")), MergeModulelist)


FAULTS = {
    "missing": (lambda d: [d.pop(f"layers.0.mlp.experts.{e}.up_proj.weight") for e in (1, 2)], "up_proj.*missing 1-2"),
    "last one missing": (lambda d: d.pop("layers.0.mlp.experts.3.up_proj.weight"), "up_proj.*missing 3"),
    "surplus": (lambda d: d.update(surplus(d, "5")), "gate_proj.weight: .*surplus 5(.|\n)*up_proj.weight: .*surplus 5"),
    "twice": (lambda d: d.update(surplus(d, "02")), "gate_proj.*more than once .*experts.02.gate.*experts.2.gate"),
}


def surplus(disk, index):
    parts = ("gate_proj", "up_proj", "down_proj")
    return {f"layers.0.mlp.experts.{index}.{p}.weight": disk[f"layers.0.mlp.experts.0.{p}.weight"] for p in parts}


@pytest.mark.parametrize("name", FAULTS)
def test_wrong_indices_are_listed(name):
    break_it, message = FAULTS[name]
    disk = per_expert()
    break_it(disk)
    shapes = {"layers.0.mlp.experts.gate_up_proj": (EXPERTS, 2 * WIDTH, HIDDEN)}
    with pytest.raises(ValueError, match=message) as caught:
        adapter(GATE_UP, DOWN).from_hf(disk, shapes)
    assert "layers.0.mlp.experts.*.up_proj.weight: not those of 4 experts" in str(caught.value)


def test_gaps_and_unequal_parts_show_without_shapes():
    disk = per_expert()
    del disk["layers.0.mlp.experts.3.up_proj.weight"], disk["layers.0.mlp.experts.0.gate_proj.weight"]
    with pytest.raises(ValueError, match="gate_proj.weight: .*missing 0(.|\n)*up_proj.weight: .*missing 3"):
        adapter(GATE_UP, DOWN).from_hf(disk)


def test_two_names_of_one_tensor_are_refused():
    both = {"block_sparse_moe.gate.weight": torch.zeros(2), "mlp.gate.weight": torch.ones(2)}
    with pytest.raises(ValueError, match="more than once block_sparse_moe.gate.weight, mlp.gate.weight"):
        adapter(Rename("block_sparse_moe", "mlp")).from_hf(both)
    disk = {**per_expert(), "layers.0.mlp.experts.down_proj": torch.zeros(1)}
    with pytest.raises(ValueError, match="down_proj is there twice, as it is in memory and as it is on disk"):
        adapter(GATE_UP, DOWN).from_hf(disk)
