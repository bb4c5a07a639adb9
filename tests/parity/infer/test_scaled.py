"""Factors of scores: put on the queries, and by the number of the layer."""

import pytest

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.scaled import layered, moved
from tests.parity.conftest import ROOT

OPT = ROOT / "specs/opt.yaml"
QUOTIENT = "(config.hidden_size // config.num_attention_heads) ** -0.5"
QUERIES = f"  multipliers: {{q: {QUOTIENT}}}\n"
WITH_A_QUOTIENT = f"{QUOTIENT} if config.scale_attn_weights else 1"


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("name: qwen3\n", "config.head_dim ** -0.5"),
        (OPT.read_text().replace(QUERIES, "").replace("  scale: 1\n", ""), QUOTIENT),
        ((ROOT / "specs/gpt_bigcode.yaml").read_text(), WITH_A_QUOTIENT),
        ("name: qwen3\nattention: {head_dim: 12, scale: 2 * head_dim}\n", "2 * 12"),
        ("name: qwen3\nattention: {scale: config.head_dim}\n", "config.head_dim"),
    ],
)
def test_a_scale_becomes_a_factor_on_the_queries(text, factor):
    candidate = Candidate.read(text, "x")
    (attention,) = [one.made(candidate.data)["attention"] for one in moved(candidate)]
    assert (attention["scale"], attention["multipliers"]) == (1, {"q": factor})


def test_factors_that_are_there_are_left():
    assert not list(moved(Candidate.read("name: qwen3\nattention: {multipliers: {q: 2.0}}\n", "x")))


def test_a_scale_by_the_number_of_the_layer():
    candidate = Candidate.read("name: qwen3\nattention: {scale: config.head_dim}\n", "x")
    made = [one.made(candidate.data)["attention"]["scale"] for one in layered(candidate, ["config.use_cache"])]
    assert made[0] == "config.head_dim / (layer + 1)"
    assert made[2] == "config.head_dim / (layer + 1 if config.use_cache else 1)"


def test_latent_attention_has_scores_and_mixers_with_a_state_have_none():
    some, none = (Candidate.read(f"name: qwen3\nattention: {{kind: {kind}}}\n", "x") for kind in ("mla", "short_conv"))
    assert list(layered(some, [])) and not list(layered(none, []))
