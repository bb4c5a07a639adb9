"""A changed field is tried where the candidate says what it held, and taken out where the candidate reads it."""

import pytest

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.followed import followed

BEFORE = {"attention_bias": False, "mlp_bias": False, "use_sliding_window": True, "tie_word_embeddings": False} | {
    "head_dim": 12
}


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("attention: {gate: true}", "use_sliding_window", "attention.gate: config.use_sliding_window"),
        ("attention: {bias: config.mlp_bias}", "attention_bias", "attention.bias: config.attention_bias"),
        ("attention: {bias: config.attention_bias}", "attention_bias", "attention.bias: False"),
        ("attention: {scale: 2 * config.head_dim}", "head_dim", "attention.scale: 2 * 12"),
        ("block: pre_norm", "tie_word_embeddings", "head.tie: False"),  # which it is by default
    ],
)
def test_what_held_the_same_may_be_the_changed_field(text, field, said):
    found = [str(one) for one in followed(Candidate.read(f"name: qwen3\n{text}\n", "x"), BEFORE, [field])]
    assert said in found


def test_what_held_another_value_is_left():
    candidate = Candidate.read("name: qwen3\nattention: {window: config.sliding_window}\n", "x")
    assert not list(followed(candidate, BEFORE | {"sliding_window": 5}, ["use_sliding_window"]))
