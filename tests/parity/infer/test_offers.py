"""What is tried: by whom it is said, in which order, and under which names."""

import re

import pytest

from codegen.configs import table
from nemo_automodel.parity.asked import Difference
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.donors import Donors
from nemo_automodel.parity.infer.judge import Stop
from nemo_automodel.parity.infer.offer import DELETED
from nemo_automodel.parity.infer.offers import Offers
from nemo_automodel.parity.infer.puts import in_words_of, with_keys
from tests.parity.conftest import ROOT

ORDER = tuple(f"model.layers.{layer}.self_attn" for layer in range(4))
PACKAGE = ROOT / "nemo_automodel/parity/infer"


@pytest.fixture(scope="module")
def donors():
    return Donors(ROOT / "specs", "qwen3")


def offers(donors, text, wrong, case="base", what="outputs, plain", unread=()):
    stop = Stop(0, what, case, tuple(map(Difference, wrong)), order=ORDER)
    words = ("sliding_attention", "full_attention")
    return [
        str(one) for group in Offers(Candidate.read(text, "x"), stop, donors, unread, words).groups() for one in group
    ]


def test_what_lies_where_it_differs_is_tried_first(donors):
    made = offers(donors, "name: qwen3\n", ORDER)
    first = {one.split(":")[0].split(".")[0] for one in made[:40]}
    assert first <= {"attention", "rope", "input"}
    assert any(one.startswith("mlp") for one in made)  # and all else behind it


def test_single_layers_are_tried_alone_first(donors):
    layers = 'name: qwen3\nlayers: {by: "config.layer_types[layer]"}\n'
    some, every = (
        [one for one in offers(donors, layers, wrong) if not one.startswith("delete")] for wrong in (ORDER[:1], ORDER)
    )
    assert some[0].startswith("layers.kinds.")
    assert not every[0].startswith("layers.kinds.")


def test_what_is_switched_on_may_have_a_key_otherwise():
    made = [*with_keys(("attention", "alibi"), True, {})]
    assert made == [{"scaled": True}, {"counted": "end"}]
    assert not [*with_keys(("attention", "alibi"), {"scaled": True}, {})]


def test_keys_of_what_some_layers_have_by_the_language_are_tried(donors):
    text = 'name: cohere2_moe\nmlp: moe\nlayers: {by: "config.mlp_layer_types[layer]", kinds: {dense: {}}}\n'
    place, path = "layers.kinds.dense.mlp", "model.layers.0.mlp.down_proj.weight"
    made = offers(donors, text, (path,), what="tensors", unread=("prefix_dense_intermediate_size",))
    width = f"{place}.kind: gated; {place}.width: config.prefix_dense_intermediate_size"
    assert width in made[:40]  # the field's name ends as that of the usual width


def test_the_changed_field_is_read_first(donors):
    made = offers(donors, "name: qwen3\n", ("model",), "field_attention_bias", unread=("attention_bias",))
    assert "config.attention_bias" in made[0]


def test_what_rounds_otherwise_is_tried_where_all_components_of_a_mixture_are_right(donors):
    """Another expert is chosen by chance; in bf16 its weight differs."""
    text = "name: qwen2_moe\nmlp: {kind: moe, router: {score: config.hidden_act, renormalize: true}}\n"
    chosen, told = "mlp.router.order: topk_first", "sums of one where config.hidden_act == 'sigmoid'"
    for wrong, what in (("model", "outputs, plain"), ("model.layers.0.mlp.routing: sums", "bits in bf16")):
        made = offers(donors, text, (wrong,), what=what)
        assert chosen in made[:5] and any(told in one for one in made[:5])
    assert not any(told in one for one in offers(donors, text, ORDER))


def test_what_reads_a_field_of_the_keys_name_comes_first(donors):
    layers = 'name: qwen3\nlayers: {by: "config.layer_types[layer]"}\n'
    made = offers(donors, layers, ORDER[:1], unread=("window_size",), what="outputs, short")
    assert made.index("layers.kinds.sliding_attention.attention.window: config.window_size") < 12


def test_a_field_may_be_a_factor_of_queries_keys_or_values(donors):
    made = offers(donors, "name: qwen3\n", ORDER, what="outputs, one", unread=("attention_dropout",))
    assert {f"attention.multipliers.{role}: config.attention_dropout" for role in "qkv"} <= {*made}


def test_a_field_that_may_be_none_may_stand_in_place_of_the_default(donors):
    text = "name: apertus1p5_text\nattention: {qk_norm: head}\nmlp: plain\nblock: post_norm\n"
    made = offers(donors, text, ("lm_head.weight",), what="tensors", unread=("output_vocab_size",))
    assert "head.rows: config.output_vocab_size or config.vocab_size" in made


def test_a_value_that_reads_the_changed_field_comes_before_a_condition_on_it(donors):
    stop = Stop(0, "outputs, plain", "field_attention_bias", (Difference("model"),), order=ORDER)
    groups = Offers(Candidate.read("name: qwen3\n", "x"), stop, donors, (), (), changed=["attention_bias"]).groups()
    near = next(made for group in groups if "attention.bias: config.attention_bias" in (made := [*map(str, group)]))
    conditional = next(turn for turn, one in enumerate(near) if "'when': 'config.attention_bias'" in one)
    assert near.index("attention.bias: config.attention_bias") < conditional


def test_what_some_layers_have_is_added_to_what_others_have_before_it_replaces_it(donors):
    layers = 'name: qwen3\nlayers: {by: "config.layer_types[layer]"}\n'
    made = [one for one in offers(donors, layers, ORDER) if one.startswith("layers: ")]
    assert made[0].startswith("layers: [{'by': 'config.layer_types[layer]'}, ")
    assert any(one.startswith("layers: {") for one in made)


def test_how_parts_are_held_is_tried_first_where_their_names_are_right(donors):
    made = offers(donors, "name: qwen3_moe\nmlp: moe\n", ("experts is transposed",), what="memory")
    assert "checkpoint.experts_mark: unmarked" in made[:40]


def test_every_word_of_the_catalog_is_tried(donors):
    made = offers(donors, "name: qwen3\n", ORDER)
    assert {"norm.kind: layernorm", "block: parallel", "attention.qk_norm.place: after_rope"} <= set(made)


def test_a_tensor_of_another_name_renames_its_role(donors):
    stop = Stop(
        0, "tensors", "base", (Difference("lm_head.weight"),), missing=("lm_head.weight",), unexpected=("out.weight",)
    )
    groups = Offers(Candidate.read("name: qwen3\n", "x"), stop, donors, (), ()).groups()
    first = next(str(one) for group in groups for one in group if one.tier != DELETED)
    assert "checkpoint.names.head: out" in first
    assert "logits = out(norm(x))" in first  # which equations call by that name


def test_a_list_that_nothing_reads_says_which_layers_are_others(donors):
    held = {"no_rope_layers": [1, 1, 0, 1]}
    stop = Stop(0, "outputs, short", "base", (Difference(ORDER[2]),), order=ORDER)
    candidate = Candidate.read("name: smollm3\n", "x")
    groups = Offers(candidate, stop, donors, ["no_rope_layers"], (), values=held).groups()
    made = [str(one) for group in groups for one in group]
    assert "layers: [{'when': 'not config.no_rope_layers[layer]'}]; layers.0.rope: none" in made[:60]


def test_what_others_read_of_their_own_field_is_tried_of_the_changed_one(donors):
    made = offers(donors, "name: qwen3\n", ("model.norm",), "field_attention_bias", unread=("attention_bias",))
    assert "attention.bias: {'qkv': 'config.attention_bias', 'out': False}" in made  # of use_qkv_bias, say


def test_the_search_knows_no_model():
    """No name of a family, nor of a class, stands in its code: what it tries comes from specs, catalog and config."""
    code = "\n".join(path.read_text() for path in PACKAGE.glob("*.py")).lower()
    words = set(re.findall(r"[a-z0-9_]+", code))
    assert words & {*table().model_types()} == {"codegen"}  # the generator itself


def test_what_is_about_a_module_that_differs_comes_before_what_is_about_one_that_does_not(donors):
    text = "name: qwen3_moe\nmlp: {kind: moe, shared: {width: config.moe_intermediate_size}}\n"
    mlps = tuple(f"model.layers.{layer}.mlp" for layer in range(4))

    def turn(made, start):
        return made.index(start)

    whole, routers = (
        offers(donors, text, [f"{path}{inside}" for path in mlps for inside in some], what="outputs, one")
        for some in ([""], ["", ".routing: sums"])
    )
    assert turn(whole, "mlp.shared.combine: mean") < turn(whole, "mlp.router.score: sigmoid")
    assert turn(routers, "mlp.router.score: sigmoid") < turn(routers, "mlp.shared.combine: mean")


def test_of_bits_every_activation_is_tried_since_several_are_one_function(donors):
    text = "name: openai_gpt\nconfig: transformers:OpenAIGPTConfig\nmlp: {kind: plain, activation: config.afn}\n"
    stop = Stop(0, "bits in bf16", "base", (Difference("model.layers.0.mlp"),), order=ORDER)
    groups = Offers(Candidate.read(text, "x"), stop, donors, (), (), before={"afn": "gelu"}).groups()
    made = {str(one) for group in groups for one in group}
    assert "mlp.activation: gelu_fast" in made
    assert "mlp.activation: 'gelu_fast' if config.afn == 'gelu' else config.afn" in made
    assert not any(one.startswith(("mlp.width", "delete mlp.kind")) for one in made)  # which is right, where bits tell


def test_where_single_tokens_differ_the_rows_of_fused_tensors_come_first(donors):
    text = "name: qwen3\ncheckpoint: {fused: {qkv_proj: [q, k, v]}}\n"
    first, later = (offers(donors, text, ORDER, what=f"outputs, {batch}") for batch in ("one", "short"))
    rows = "checkpoint.fused.qkv_proj: {'parts': ['q', 'v', 'k'], 'groups': 4}"
    assert first.index(rows) < 36 and rows not in later[:36]


def test_what_drafts_of_two_configs_say_otherwise_is_tried_under_a_condition(donors):
    stop = Stop(0, "outputs, short", "field_attention_bias", tuple(map(Difference, ORDER)), order=ORDER)
    candidate, apart = Candidate.read("name: qwen3\n", "x"), [(("rope",), "none"), (("attention", "alibi"), True)]
    values = {"attention_bias": True}
    made = Offers(candidate, stop, donors, (), (), values=values, changed=["attention_bias"], apart=apart)
    first = next(iter(made.groups()))[0].made({"name": "qwen3"})
    condition = "config.attention_bias"
    assert first["variants"] == [{"when": condition, "rope": "none", "attention": {"alibi": True}}]


def test_in_training_nothing_but_dropouts_is_tried(donors):
    made = offers(donors, "name: qwen3\n", ("whole",), what="loss in training")
    assert made and all("dropout" in one for one in made if not one.startswith("delete"))


def test_what_others_say_is_said_in_this_configs_words_for_sizes():
    """XGLM stores a width as d_model, and the classes that share its scale of embeddings do not."""
    said = "x = embed_tokens(ids) * cast(sqrt(config.d_model) if config.scale_embedding else 1.0, float32)"
    biogpt, xglm = (table().get(f"{name}Config") for name in ("BioGpt", "XGLM"))
    assert in_words_of(xglm, said) == said
    assert in_words_of(biogpt, said) == said.replace("d_model", "hidden_size")
    unscaled = re.sub(r" \* cast\(.*, float32\)", "", (ROOT / "specs/biogpt.yaml").read_text())
    made = offers(Donors(ROOT / "specs", "biogpt"), unscaled, ("model",), what="outputs, one")
    assert any("sqrt(config.hidden_size) if config.scale_embedding" in one for one in made)
