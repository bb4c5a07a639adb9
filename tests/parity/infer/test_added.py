"""Roles that a draft lacks, where tensors that it does not expect may be theirs."""

import pytest

from codegen.language.spec import WIRINGS
from nemo_automodel.parity.asked import Difference
from nemo_automodel.parity.infer.added import added, other_blocks, uncalled
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.judge import Stop

LAYER = "model.layers.0."
SLIDING = ("layers", "kinds", "sliding_attention")


def offered(text, found, overlays=((),)):
    stop = Stop(0, "tensors", "base", (Difference(found),), unexpected=(found,))
    candidate = Candidate.read(text, "x")
    return [one.made(candidate.data) for one in added(candidate, stop, overlays)]


@pytest.mark.parametrize(
    ("found", "name"),
    [("mlp.experts.e_score_bias", "experts.e_score_bias"), ("moe.router.expert_bias", "..moe.router.expert_bias")],
)
def test_a_switch_is_on_where_its_tensor_is_there(found, name):
    """In the part, or beside it in its layer."""
    made = offered("name: qwen3_moe\nmlp: moe\n", LAYER + found)
    on = [one for one in made if one["checkpoint"] == {"names": {"correction_bias": name}}]
    assert [one["mlp"]["router"] for one in on] == [{"correction_bias": True}]


def test_it_may_be_on_in_some_layers_alone():
    text = 'name: qwen3\nlayers: {by: "config.layer_types[layer]"}\n'
    made = offered(text, f"{LAYER}self_attn.sink_bias", [(), SLIDING])
    some = [one for one in made if one["checkpoint"] == {"names": {"sinks": "sink_bias"}}]
    assert [one.get("attention") for one in some] == [{"sinks": True}, None]
    assert some[1]["layers"]["kinds"] == {"sliding_attention": {"attention": {"sinks": True}}}


def test_what_some_layers_lack_is_not_called_in_them():
    missing = ("model.layers.0.input_layernorm.weight",)
    stop = Stop(0, "tensors", "base", tuple(map(Difference, missing)), missing=missing)
    (made,) = (one.puts[0][1] for one in uncalled(Candidate.read("name: qwen3\n", "x"), stop, 4))
    block = ["x = x + attention(x)", "x = x + mlp(post_attention_layernorm(x))"]
    assert made == [{"when": "layer == 0", "block": block}]


def test_blocks_of_some_models_may_be_those_of_others():
    candidate = Candidate.read("name: qwen3\nvariants: [{when: config.use_sliding_window, block: parallel}]\n", "x")
    stop = Stop(0, "tensors", "x", (Difference(LAYER),), missing=(LAYER,))
    blocks = [lines for _, lines in other_blocks(candidate, stop)]
    assert sorted(blocks) == sorted([*WIRINGS[name]] for name in ("pre_norm", "parallel"))
    assert not [*other_blocks(candidate, Stop(0, "tensors", "x", (Difference(LAYER),), unexpected=(LAYER,)))]
