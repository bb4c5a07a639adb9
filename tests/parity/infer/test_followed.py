"""A changed field is tried where the candidate says what it held, and taken out where the candidate reads it."""

import pytest

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.followed import followed

BEFORE = {"attention_bias": False, "mlp_bias": False, "use_sliding_window": True, "tie_word_embeddings": False} | {
    "head_dim": 12,
    "hidden_act": "silu",
}
KINDS = "kinds: {full_attention: {norm: {bias: false}}, sliding_attention: {norm: {bias: false}}}"


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("attention: {gate: true}", "use_sliding_window", "attention.gate: config.use_sliding_window"),
        ("attention: {bias: config.mlp_bias}", "attention_bias", "attention.bias: config.attention_bias"),
        ("attention: {bias: config.attention_bias}", "attention_bias", "attention.bias: False"),
        ("attention: {scale: 2 * config.head_dim}", "head_dim", "attention.scale: 2 * 12"),
        ("block: pre_norm", "tie_word_embeddings", "head.tie: False"),  # which it is by default
        ("block: pre_norm", "hidden_act", "mlp.activation: silu"),
        ("mlp: {activation: config.hidden_act}", "hidden_act", "mlp.activation: silu"),
        (
            "output: [logits = lm_head(silu(norm(x)))]",
            "hidden_act",
            "output: ['logits = lm_head(act(norm(x), config.hidden_act))']",
        ),
    ],
)
def test_what_held_the_same_may_be_the_changed_field(text, field, said):
    found = [str(one) for one in followed(Candidate.read(f"name: qwen3\n{text}\n", "x"), BEFORE, BEFORE, [field])]
    assert said in found


def test_what_held_another_value_is_left():
    candidate = Candidate.read("name: qwen3\nattention: {window: config.sliding_window}\n", "x")
    assert not list(followed(candidate, BEFORE | {"sliding_window": 5}, BEFORE, ["use_sliding_window"]))


def test_one_key_of_several_kinds_of_layers_follows_everywhere():
    text = f'name: qwen3\nhead: {{bias: false}}\nlayers: {{by: "config.layer_types[layer]", {KINDS}}}\n'
    found = [one.puts for one in followed(Candidate.read(text, "x"), BEFORE, BEFORE, ["mlp_bias"])]
    several = [{".".join(path): value for path, value in puts} for puts in found if len(puts) > 1]
    norms = {f"layers.kinds.{kind}.norm.bias" for kind in ("full_attention", "sliding_attention")}
    assert {*norms, "head.bias"} in [{*one} for one in several]
    assert {"config.mlp_bias"} in [{*one.values()} for one in several]


def test_a_key_of_which_the_field_holds_the_words_reads_it():
    """The model's kind of attention is no word of a router's score."""
    candidate = Candidate.read("name: qwen3_moe\nmlp: moe\n", "x")
    for word, told in (("sigmoid", ["mlp.router.score: config.selection"]), ("other", [])):
        found = followed(candidate, {"selection": "softmax"}, {"selection": word}, ["selection"])
        assert [str(one) for one in found] == told
