"""Where dropouts act: all few places of a field, and no other place that reads it."""

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.dropped import dropped, regrouped


def test_a_field_is_tried_at_one_place_then_at_more():
    candidate = Candidate.read("name: qwen3\ndropout: {residual: config.pdrop, activation: config.q}\n", "x")
    made = [one.made(candidate.data)["dropout"] for one in dropped(candidate, ["pdrop"])]
    assert all(one["activation"] in ("config.q", "config.pdrop") for one in made)
    at = [{place for place, value in one.items() if value == "config.pdrop"} for one in made]
    assert at[0] == {"embedding"} and {"embedding", "residual"} in at
    assert [len(one) for one in at] == sorted(map(len, at))
    assert made[0]["residual"] == 0.0


def test_a_changed_flag_is_no_probability():
    assert not list(dropped(Candidate.read("name: qwen3\n", "x"), ["use_sliding_window"]))


def test_what_no_field_changed_is_left():
    assert not list(dropped(Candidate.read("name: qwen3\n", "x"), []))


def test_what_acts_on_attention_alone_leaves_the_mlp_without():
    made = [one.made({})["dropout"] for one in dropped(Candidate.read("name: qwen3\n", "x"), ["pdrop"])]
    assert {"residual": "config.pdrop", "mlp": 0.0} in made and {"residual": "config.pdrop"} in made


def test_what_is_dropped_is_each_part_or_the_sum_of_both():
    one, other = "x = attention(h) + mlp(h) + x", "x = x + (attention(h) + mlp(h))"
    assert (regrouped(one), regrouped(other)) == (other, one)
    assert not regrouped("x = x + attention(h) + mlp(h)")  # another sum
    block = ["h = input_layernorm(x)", one]
    candidate = Candidate({"name": "falcon", "block": block, "variants": [{"when": "config.x", "block": other}]}, "x")
    made = [offer.made(candidate.data) for offer in dropped(candidate, [])]
    assert [one["block"] for one in made] == [[block[0], other], block]
    assert made[1]["variants"] == [{"when": "config.x", "block": [one]}]
