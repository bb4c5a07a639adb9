"""Weight rules: what each makes of known rows, exact inverses, shards, and names that must not collide."""

import pytest
import torch

from nemo_automodel.components.models.common import BackendConfig
from nemo_automodel.components.models.common.checkpoint.adapter import StateDictAdapter
from nemo_automodel.components.models.common.checkpoint.loading import parallel_plan
from nemo_automodel.components.models.common.checkpoint.rules import (
    PackGateUp,
    PackQKV,
    Rename,
    ReorderGateUp,
    ReorderQKV,
    Transpose,
    Unsqueeze,
)
from nemo_automodel.components.models.common.combined_projection import CombinedQKVAttentionMixin, QKVLayout
from nemo_automodel.components.models.common.unsupported import UnsupportedConfigError

PACKED, SPLIT = BackendConfig(projections="packed"), BackendConfig(projections="split")


def adapter(*rules, backend=PACKED):
    return type("Adapter", (StateDictAdapter,), {"rules": lambda self, config: rules})(None, backend)


def rows(*names, width=2, columns=3):
    """Two rows a head; each filled with a number that is unique to its head: name and index tell it."""
    return torch.cat([torch.full((width, columns), float(n)) for n in names])


def heads(tensor, width=2):
    return tensor[::width, 0].tolist()


Q, K, V = rows(1, 2, 3, 4), rows(11, 12), rows(21, 22)  # two groups of two query heads
GROUPED = [1, 2, 11, 21, 3, 4, 12, 22]


def test_a_parallel_plan_is_renamed_like_tensors():
    rules = adapter(Rename("ffn.shared", "ffn.shared_experts"), PackGateUp("ffn"), PackQKV("attn", 2, 2)).active
    plan = {
        "layers.*.attn.q_proj": "colwise",
        "layers.*.ffn.shared.down_proj": "rowwise",
        "layers.*.ffn.gate_proj": "x",
    }
    assert parallel_plan(plan, rules) == {
        "layers.*.attn.qkv_proj": "colwise",
        "layers.*.ffn.shared_experts.down_proj": "rowwise",
        "layers.*.ffn.gate_up_proj": "x",
    }


def test_pack_qkv_groups_rows_per_kv_head():
    rule = PackQKV("attn", queries=2, head_dim=2)
    packed = rule.load([[Q], [K], [V]])
    assert heads(packed) == GROUPED
    for (part,), original in zip(rule.save(packed), (Q, K, V), strict=True):
        assert torch.equal(part, original)


def test_values_may_be_narrower():
    rule = PackQKV("attn", queries=2, head_dim=2, v_head_dim=1)
    narrow = torch.tensor([[21.0] * 3, [22.0] * 3])
    packed = rule.load([[Q], [K], [narrow]])
    assert packed[:, 0].tolist() == [1, 1, 2, 2, 11, 11, 21, 3, 3, 4, 4, 12, 12, 22]
    assert torch.equal(rule.save(packed)[2][0], narrow)


def test_shards_convert_like_wholes():
    rule = PackQKV("attn", queries=2, head_dim=2)
    packed = rule.load([[Q], [K], [V]])
    halves = [rule.load([[t.chunk(2)[i]] for t in (Q, K, V)]) for i in (0, 1)]
    assert torch.equal(torch.cat(halves), packed)
    assert torch.equal(rule.save(packed.chunk(2)[1])[0][0], Q.chunk(2)[1])


def test_pack_gate_up_interleaves_rows():
    rule = PackGateUp("mlp")
    gate, up = torch.arange(6.0).view(3, 2), torch.arange(10.0, 16.0).view(3, 2)
    packed = rule.load([[gate], [up]])
    assert packed[:, 0].tolist() == [0, 10, 2, 12, 4, 14]
    assert [torch.equal(part, t) for (part,), t in zip(rule.save(packed), (gate, up), strict=True)] == [True, True]


LAYOUTS = {
    "concatenated": (("q", "k", "v"), 1, rows(1, 2, 3, 4, 11, 12, 21, 22)),
    "value before key": (("q", "v", "k"), 1, rows(1, 2, 3, 4, 21, 22, 11, 12)),
    "grouped already": (("q", "k", "v"), 2, rows(*GROUPED)),
    "grouped, value first": (("v", "q", "k"), 2, rows(21, 1, 2, 11, 22, 3, 4, 12)),
}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", LAYOUTS)
def test_reorder_qkv_from_every_layout(name, transposed):
    parts, groups, stored = LAYOUTS[name]
    rule = ReorderQKV("attn.qkv", parts, groups, queries=2, head_dim=2, transposed=transposed)
    disk = stored.t() if transposed else stored
    memory = rule.load([[disk]])
    assert heads(memory) == GROUPED
    assert torch.equal(rule.save(memory)[0][0], disk)


def test_reorder_keeps_biases():
    rule = ReorderQKV("attn.qkv", ("q", "k", "v"), 1, queries=2, head_dim=2, transposed=True)
    bias = rows(1, 2, 3, 4, 11, 12, 21, 22)[:, 0]
    assert rule.load([[bias]])[::2].tolist() == GROUPED
    assert torch.equal(rule.save(rule.load([[bias]]))[0][0], bias)


@pytest.mark.parametrize("groups, stored", [(1, [0, 1, 2, 3, 10, 11, 12, 13]), (2, [0, 1, 10, 11, 2, 3, 12, 13])])
def test_reorder_gate_up(groups, stored):
    rule = ReorderGateUp("mlp.gate_up", groups)
    disk = torch.tensor(stored, dtype=torch.float32)[:, None].expand(8, 2)
    memory = rule.load([[disk]])
    assert memory[:, 0].tolist() == [0, 10, 1, 11, 2, 12, 3, 13]
    assert torch.equal(rule.save(memory)[0][0], disk)


def test_transposed_rules_survive_on_the_split_backend_and_others_do_not():
    turned = ReorderQKV("attn.qkv", ("q", "k", "v"), 1, 2, 2, transposed=True)
    plain = ReorderQKV("attn.qkv", ("q", "k", "v"), 1, 2, 2)
    split = adapter(turned, plain, PackQKV("a", 2, 2), Rename("old", "new"), backend=SPLIT)
    assert set(split.active) == {Transpose("attn.qkv"), Rename("old", "new")}
    assert len(adapter(turned, plain, PackQKV("a", 2, 2)).active) == 3


def test_names_match_whole_segments():
    rules = adapter(Transpose("attn.c_proj"), PackGateUp("mlp"))
    wide = torch.arange(6.0).view(2, 3)
    disk = {
        "h.0.attn.c_proj.weight": wide,
        "h.0.crossattn.c_proj.weight": wide,
        "h.0.attn.c_proj.lora_A.weight": wide,
        "attn.c_proj.bias": wide[0],
        "h.0.xmlp.gate_proj.weight": wide,
    }
    memory = rules.from_hf(disk)
    assert {name: t.shape[0] for name, t in memory.items()} == dict(zip(disk, (3, 2, 2, 3, 2), strict=True))
    assert {name: t.shape for name, t in rules.to_hf(memory).items()} == {n: t.shape for n, t in disk.items()}


def test_single_tensors_agree_with_the_whole():
    rules = adapter(PackQKV("self_attn", 2, 2), PackGateUp("mlp"))
    disk = {f"layers.1.self_attn.{n}_proj.weight": t for n, t in zip("qkv", (Q, K, V), strict=True)}
    disk |= {"layers.1.mlp.gate_proj.weight": Q, "layers.1.mlp.up_proj.weight": -Q, "norm.weight": Q[0]}
    memory = rules.from_hf(disk)
    assert set(memory) == {"layers.1.self_attn.qkv_proj.weight", "layers.1.mlp.gate_up_proj.weight", "norm.weight"}
    single = dict(pair for name, t in memory.items() for pair in rules.convert_single_tensor_to_hf(name, t))
    assert set(single) == set(disk)
    assert all(torch.equal(single[name], t) and single[name].is_contiguous() for name, t in disk.items())


def test_a_lone_part_is_an_error_that_names_the_rest():
    with pytest.raises(KeyError, match="self_attn.k_proj.weight, self_attn.v_proj.weight: missing"):
        adapter(PackQKV("self_attn", 2, 2)).from_hf({"self_attn.q_proj.weight": Q})


def test_names_of_memory_pass_through():
    rules = adapter(PackQKV("self_attn", 2, 2))
    memory = {"self_attn.qkv_proj.weight": Q}
    assert rules.from_hf(memory) == memory


def test_rules_that_keep_a_name_go_by_the_shape():
    rules = adapter(Transpose("fc"), Transpose("square"))
    memory = {"fc.weight": torch.zeros(2, 3), "square.weight": torch.arange(4.0).view(2, 2)}
    shapes = {name: t.shape for name, t in memory.items()}
    assert torch.equal(rules.from_hf(memory, shapes)["square.weight"], memory["square.weight"])
    disk = rules.to_hf(memory)
    assert torch.equal(rules.from_hf(disk, shapes)["square.weight"], memory["square.weight"])


def test_a_vector_stored_as_a_row():
    rules = adapter(Rename("mlp.statics.bias_of_choice", "mlp.gate.choice"), Unsqueeze("mlp.gate.choice"))
    disk = {"layers.2.mlp.statics.bias_of_choice": torch.arange(3.0)[None], "layers.2.mlp.gate.weight": Q}
    memory = rules.from_hf(disk)
    assert memory["layers.2.mlp.gate.choice"].tolist() == [0, 1, 2]
    assert torch.equal(memory["layers.2.mlp.gate.weight"], Q)
    assert {n: t.tolist() for n, t in rules.to_hf(memory).items()} == {n: t.tolist() for n, t in disk.items()}
    ((name, row),) = rules.convert_single_tensor_to_hf("layers.2.mlp.gate.choice", memory["layers.2.mlp.gate.choice"])
    assert (name, row.shape) == ("layers.2.mlp.statics.bias_of_choice", (1, 3))


def test_a_vectors_rank_tells_the_side():
    rules, one = adapter(Unsqueeze("sinks")), torch.ones(1)
    for memory in ({"sinks": torch.arange(3.0)}, {"sinks": one}):
        shapes = {name: t.shape for name, t in memory.items()}
        for given in (memory, rules.to_hf(memory)):
            assert rules.from_hf(given, shapes)["sinks"].tolist() == memory["sinks"].tolist()


def test_layouts_are_checked():
    with pytest.raises(ValueError, match="must name q, k and v once each"):
        QKVLayout(("q", "k", "k")).check({"q": 4, "k": 4, "v": 4})
    with pytest.raises(ValueError, match="3 groups do not divide the 4 rows of q"):
        QKVLayout(groups=3).check({"q": 4, "k": 3, "v": 3})


class Fused(CombinedQKVAttentionMixin, torch.nn.Module):
    def __init__(self, heads, projections):
        super().__init__()
        self.backend = BackendConfig(projections=projections)
        self.setup_qkv_projection(8, heads, heads, 2, fused="qkv", layout=QKVLayout(groups=4))


def test_groups_of_fused_rows_that_cut_heads_are_packed_by_nobody():
    Fused(6, "split"), Fused(8, "packed")
    with pytest.raises(UnsupportedConfigError, match="4 groups of the rows of qkv hold no whole heads of 2"):
        Fused(6, "packed")
