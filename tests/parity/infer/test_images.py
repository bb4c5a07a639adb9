"""Specs of images and text that are looked for: what their references are asked, and where wrong ones stop."""

import pytest

from nemo_automodel.parity.asked import Difference
from nemo_automodel.parity.infer.donors import Donors
from nemo_automodel.parity.infer.image_offers import ImageOffers
from nemo_automodel.parity.infer.judge import Judge, Stop
from nemo_automodel.parity.infer.of_images import HalfCandidate, ImageCandidate
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.pixels import images_of
from nemo_automodel.parity.infer.start import start
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.reference import Reference
from tests.parity.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "fields", "prefix"),
    [
        ("llava", ["pixel_values"], False),  # its class takes sizes too, which no CLIP tower reads
        ("mistral3", ["pixel_values", "image_sizes"], False),
        ("idefics2", ["pixel_values", "pixel_attention_mask"], False),
        ("qwen2_vl", ["pixel_values", "image_grid_thw"], False),
        ("gemma3", ["pixel_values"], False),
        ("video_llava", ["pixel_values_images"], False),  # takes the usual name too, since 5.23
        ("paligemma", ["pixel_values"], True),
    ],
)
def test_what_a_class_reads_is_asked_of_itself(name, fields, prefix):
    project = open_project(name, ROOT)
    reference = Reference(project.subject(), project.configs["base"])
    drawn = images_of(reference.model)
    assert list(drawn.pictures.fields) == fields
    assert drawn.prefix == prefix
    assert drawn.token == reference.outline.model.image_token


@pytest.fixture(scope="module")
def judged(hidden):
    """A judge of one config, and a spec that it has nothing against."""
    there = hidden("paligemma")
    begun = start(there.checkpoint, there.tree, "paligemma")
    judge = Judge(begun.subject, "paligemma", {"base": Oracle(begun.subject, there.project.configs["base"])})
    right = {"name": "paligemma", "projector": "x = linear(x)", "positions": {"start": 1}, "mask": "prefix"}
    return judge, ImageCandidate(right, "specs/paligemma.yaml", there.tree)


def test_nothing_is_held_against_the_right_spec(judged):
    judge, right = judged
    assert judge.stop(right) is None


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("positions", {"start": 0}, "rotary_emb"),
        ("mask", "image_blocks", "self_attn"),
        ("mask", "causal", "self_attn"),
        ("projector", "x = relu(linear(x))", "multi_modal_projector"),
        ("text", {"spec": "gemma", "norm": {"eps": 0.5}}, "layernorm"),
        ("output", "logits = lm_head(x) * 2", "whole"),
    ],
)
def test_a_wrong_value_stops_where_it_acts(judged, key, value, where):
    judge, right = judged
    stop = judge.stop(right.with_({**right.data, key: value}))
    assert stop is not None
    assert any(one.where.endswith(where) for one in stop.inmost), stop


def test_a_text_half_is_changed_below_text(hidden):
    """Of an overlay and the spec below it: what is written, what takes it back, and where the layers are."""
    there = hidden("paligemma")
    whole = ImageCandidate(
        {
            "name": "paligemma",
            "text": {"spec": "gemma", "rope": {"layout": "interleaved"}},
            "projector": "x = linear(x)",
        },
        "specs/paligemma.yaml",
        there.tree,
    )
    half = HalfCandidate.of(whole)
    assert half.data["norm"]["offset"] == 1
    assert half.data["rope"] == {"layout": "interleaved"}
    assert (("norm", "offset"), 0) in [*half.defaults()]
    assert half.layers(memory=True) == "model.language_model.layers"
    assert half.layers() == "language_model.model.layers"
    wrong = "model.language_model.layers.0.self_attn"
    stop = Stop(3, "outputs, one", "base", (Difference(wrong),), order=(wrong,))
    offers = ImageOffers(whole, stop, Donors(there.tree / "specs", "paligemma", images=True), [], [])
    inside = [path for group in offers.groups() for one in group for path, _ in one.puts if path[0] == "text"]
    assert ("text", "attention", "scale") in inside
    assert ("text", "norm", "offset") in inside


def test_nothing_is_put_into_a_list_of_equations(hidden):
    """What other specs say of a module as the projector, where this one has equations."""
    there = hidden("paligemma")
    whole = ImageCandidate(
        {"name": "paligemma", "projector": ["h = linear(x)", "x = h"]}, "specs/paligemma.yaml", there.tree
    )
    stop = Stop(4, "outputs, short", "base", (Difference("model.multi_modal_projector"),))
    offers = ImageOffers(whole, stop, Donors(there.tree / "specs", "paligemma", images=True), [], [])
    made = [one.made(whole.data) for group in offers.groups() for one in group]
    assert any(one["projector"] == "none" for one in made if "projector" in one)


def test_fields_that_no_class_declares_are_changed_too(hidden):
    there = hidden("paligemma")
    whole = ImageCandidate({"name": "aya_vision"}, "specs/aya_vision.yaml", there.tree)
    assert "alignment_intermediate_size" in whole.structural()


def test_fields_of_a_text_that_is_proven_by_itself_are_left(hidden):
    """Its sizes among them: no spec of images says them, and models of other sizes are no wrong ones."""
    there = hidden("paligemma")
    names = start(there.checkpoint, there.tree, "paligemma").candidate.structural()
    assert "projection_dim" in names
    assert not [one for one in names if one.startswith(("text_config.", "vision_config."))]
