"""The configs on which a spec is judged."""

import pytest

from codegen.configs import table
from nemo_automodel.parity.infer.budget import Budget
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.sample import shrunk
from nemo_automodel.parity.infer.variants import (
    changes,
    differing,
    freed,
    is_one_kind,
    listed,
    mended,
    off,
    structural,
)
from nemo_automodel.parity.project import open_project
from tests.parity.conftest import ROOT


def test_fields_of_configs_inside_the_config_are_asked_too():
    names = structural(table().get("DbrxConfig"))
    assert {"ffn_config.moe_normalize_expert_weights", "attn_config.clip_qkv"} <= {*names}
    assert "ffn_config" not in names
    base = {"ffn_config": {"moe_top_k": 2}}
    assert [*off(base, ["ffn_config.moe_top_k"])] == [("off_ffn_config.moe_top_k", {"ffn_config": {"moe_top_k": 0}})]


def test_a_list_of_one_number_for_each_layer_is_asked_with_unlike_ones():
    ((_, tries),) = changes({"heads": [6, 6, 6]}, ["heads"])
    assert {"heads": [6, 12, 6]} in tries


def test_a_refused_config_takes_what_it_lacks_from_the_published_one():
    values = {"hidden_size": 60, "attn_config": {"clip": 2.0}, "layer_types": ["a", "b", "b"]}
    own = {"hidden_size": 4096, "attn_config": {"clip": 8.0, "theta": 1e4}, "layer_types": ["a", "c"], "scale": 0.5}
    merged, with_words, published = mended(values, own)
    assert merged == {**values, "attn_config": {"clip": 2.0, "theta": 1e4}, "scale": 0.5}
    assert with_words == {**merged, "layer_types": ["a", "c", "a"]}  # as many as there are layers
    assert published == own


def test_a_small_sample_has_small_numbers_and_few_layers():
    words = ["dense", *["sparse"] * 60]
    published = {"num_hidden_layers": 61, "n_routed_experts": 256, "eos_token_id": 163691, "mlp_layer_types": words}
    inner = {"rope_parameters": {"original_max_position_embeddings": 4096}, "attn_config": {"kv_n_heads": 48}}
    assert shrunk(published | inner) == {
        "num_hidden_layers": 4,
        "n_routed_experts": 16,
        "eos_token_id": 163691,
        "mlp_layer_types": words[:4],
        "rope_parameters": {"original_max_position_embeddings": 4096},
        "attn_config": {"kv_n_heads": 16},
    }


def test_whole_numbers_are_asked_as_lists_of_one_for_each_layer():
    base = {"num_hidden_layers": 4, "moe_topk": 2, "theta": 1.5, "tied": True, "words": ["a"]}
    assert dict(listed(base, [*base])) == {
        "num_hidden_layers": {"num_hidden_layers": [4, 5, 4, 5]},  # which no class takes
        "moe_topk": {"moe_topk": [2, 3, 2, 3]},
    }


def test_the_words_of_a_field_are_those_that_the_class_compares_it_with():
    source = 'if self.topk_method == "greedy":\n    pass\nelif config.topk_method in ("noaux", "group_limited"):\n'
    tries = dict(changes({"topk_method": "greedy", "other": "x"}, ["topk_method", "other"], source))
    assert [change["topk_method"] for change in tries["topk_method"]] == ["noaux", "group_limited"]
    assert "other" not in tries


def test_lists_of_lists_are_left_alone():
    assert not dict(changes({"attention_types": [[["global"], 2]]}, ["attention_types"]))


def test_a_changed_factor_is_that_of_no_other_field():
    base = {"scale": 1.0, "logits_scaling": 1.7, "layers": 3}
    tries = dict(changes(base, ["scale", "layers"]))
    assert tries["scale"][0]["scale"] not in base.values()
    assert {"layers": 4} in tries["layers"]


def test_words_are_tried_of_a_field_that_holds_nothing():
    source = "if config.position_embedding_type == 'rope':"
    found = dict(changes({"position_embedding_type": None}, ["position_embedding_type"], source))
    assert {"position_embedding_type": "rope"} in found["position_embedding_type"]


def test_numbers_are_asked_as_nothing():
    assert dict(off({"experts": 8, "flag": True, "none": 0, "eps": 0.1}, ["experts", "flag", "none", "eps"])) == {
        "off_experts": {"experts": 0}
    }


def test_a_flag_that_is_refused_is_changed_with_a_number_left_to_the_class():
    """Which it leaves at nothing, or makes of another field."""
    base, fields = {"multi_query": True, "kv_heads": 2, "heads": 6}, {"kv_heads": None, "heads": 8, "multi_query": True}
    for default, value in ((None, None), (8, 6)):
        made = dict(freed(base, ["multi_query", "heads"], {**fields, "kv_heads": default}))
        assert {"multi_query": False, "kv_heads": value} in made["multi_query"] and len(made) == 1


def test_a_field_of_another_kind_of_layers_is_changed_where_the_kinds_are_mixed():
    project = open_project("cohere2_moe", ROOT)
    base = {**project.configs["base"], "mlp_layer_types": ["sparse"] * 4}
    candidate = Candidate.read('name: cohere2_moe\nmlp: moe\nlayers: {by: "config.layer_types[layer]"}\n', "x")
    cases = Cases(project.subject(), base, Budget(60))
    assert cases.add("base", base)
    cases._change_fields(candidate, cases.base)
    name = "prefix_dense_sliding_window_pattern"  # which acts in layers with a dense MLP
    mixed, alone = (cases.oracles[f"{kind}_{name}"].values for kind in ("field", "silent"))
    assert mixed[name] == alone[name] == 1 and alone["mlp_layer_types"] == base["mlp_layer_types"]
    assert {*mixed["mlp_layer_types"]} == {"dense", "sparse"}


def test_a_field_of_parts_that_a_flag_puts_in_is_changed_beside_the_flag():
    project = open_project("falcon", ROOT)
    candidate = Candidate.read((ROOT / "specs/falcon.yaml").read_text(), "falcon")
    cases = Cases(project.subject(), dict(project.configs["base"]), Budget(60))
    cases.change_alone(candidate, project.configs["base"])
    both = cases.oracles["field_num_ln_in_parallel_attn"].values
    assert both["new_decoder_architecture"] and both["num_ln_in_parallel_attn"] == 1
    heads = cases.oracles["field_multi_query"].values
    assert not heads["multi_query"] and heads["num_kv_heads"] == project.configs["base"]["num_attention_heads"]


def test_a_flag_that_is_taken_and_shows_nothing_is_not_changed_beside_a_number_left_to_the_class():
    """That number is what would show: here the flag is about bf16 alone, and no spec could say it."""
    project = open_project("mamba2", ROOT)
    cases = Cases(project.subject(), dict(project.configs["base"]), Budget(60))
    assert cases.add("base", project.configs["base"])
    cases._change_fields(Candidate.read((ROOT / "specs/mamba2.yaml").read_text(), "mamba2"), cases.base)
    assert cases.shows["residual_in_fp32"] is False and "field_residual_in_fp32" not in cases.oracles


@pytest.mark.parametrize("name", ["mpt", "llama"])
def test_after_it_was_asked_otherwise_a_reference_attends_as_before(name):
    """Also one with a config inside its config, of which the class keeps a copy."""
    project = open_project(name, ROOT)
    oracle = Oracle(project.subject(), project.configs["base"])
    before = oracle.reference.model.config._attn_implementation
    assert oracle.is_defined and oracle.reference.model.config._attn_implementation == before == "eager"


def test_no_text_is_longer_than_the_positions_of_a_config_by_whatever_name():
    names = structural(table().get("MptConfig"))
    assert "max_seq_len" not in names and {"expansion_ratio", "attn_config.clip_qkv"} <= {*names}


def test_a_config_inside_that_one_leaves_to_the_class_differs_in_its_fields():
    assert [*differing({"a": 1}, {"a": 1, "attn_config": {"scale": 2}})] == ["attn_config.scale"]
    assert [*differing({"a_config": {"b": 1}, "c": [1]}, {"a_config": {"b": 2}})] == ["a_config.b", "c"]


def test_a_list_of_one_kind_of_layers_alone_is_mixed_though_a_spec_reads_it():
    base = {"mlp_layer_types": ["sparse"] * 4}
    assert is_one_kind(base["mlp_layer_types"])
    assert not any(map(is_one_kind, (["sparse", "dense"], ["one"] * 4, [1, 1], [], None)))
    ((_, tries),) = changes(base, ["mlp_layer_types"])
    assert tries[0] == {"mlp_layer_types": ["dense", "sparse", "sparse", "dense"]}
