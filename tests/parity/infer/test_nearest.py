"""Words that no question tells apart: those with which more is the reference's own to the bit."""

import pytest

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.nearest import Bits, roundings
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.start import start


def named(text):
    return dict(roundings(Candidate.read(text, "specs/x.yaml")))


def test_every_dtype_of_the_catalog_is_a_word_to_try_and_nothing_else_is():
    found = named("name: qwen3\nattention: {softmax_dtype: model}\n")
    assert found["attention.softmax_dtype: float32"].data["attention"] == {"softmax_dtype": "float32"}
    assert "attention.softmax_dtype: model" not in found  # it says so
    assert {"norm.cast: after_weight", "rope.table_dtype: float32"} <= found.keys()
    assert not any("layout" in name for name in found)


def test_words_of_some_layers_are_tried_there():
    kinds = "{linear_attention: {attention: {kind: gated_delta_net}}}"
    found = named(f"name: qwen3_next\nlayers: {{by: 'config.layer_types[layer]', kinds: {kinds}}}\n")
    assert "layers.kinds.linear_attention.attention.norm.cast: after_weight" in found


def test_a_sum_of_one_may_come_of_the_choice_before_the_softmax():
    found = named("name: qwen2_moe\nmlp: {kind: moe, router: {renormalize: true}}\n")
    assert found["mlp.router.order: topk_first"].data["mlp"]["router"] == {"order": "topk_first"}
    assert not any("order" in name for name in named("name: qwen2_moe\nmlp: moe\n"))


@pytest.mark.parametrize("name", ["biogpt"])
def test_gradients_tell_what_outputs_do_not(hidden, name):
    """A softmax in the model's dtype rounds as one in fp32 does, and keeps for the backward pass what it rounded."""
    there = hidden(name)
    begun = start(there.checkpoint, there.tree, name)
    bits = Bits(begun.subject, name, Oracle(begun.subject, there.project.configs["base"]))
    text = there.project.root.joinpath(there.project.spec.path).read_text()
    right, wrong = (
        Candidate.read(one, f"specs/{name}.yaml") for one in (text, text.replace(", softmax_dtype: model", ""))
    )
    more = bits.alike(right) - bits.alike(wrong)
    assert more and all("gradient" in one for one in more)
    assert bits.alike(wrong) < bits.alike(right)
    assert not bits.alike(right.with_(right.data | {"head": {"tie": "none"}}))
