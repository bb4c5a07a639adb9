"""`codegen explain NAME --graph`: the picture of a model, and its place on every page."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.errors import CodegenError
from codegen.explain import graph
from codegen.plan.types import Fork, Picture, Step
from codegen.render.picture import mermaid
from tests.codegen.explain.flowchart import loose_ends, read
from tests.codegen.scratch.project import Project

ROOT = Path(__file__).parents[3]
PAGES = sorted(page for page in (ROOT / "docs/model-coverage").glob("*lm/*.md") if page.name != "index.md")


def drawn(name):
    return read(graph(name, ROOT))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_a_picture_without_loose_ends(page):
    (picture,) = [part.partition("```")[0] for part in page.read_text().split("```mermaid\n")[1:]]
    chart = read(picture)
    assert not loose_ends(chart)
    assert {"ids", "logits", "head"} <= {words[0] for _, words, _ in chart.nodes.values()}
    assert any(boxes for _, _, boxes in chart.nodes.values())


def test_every_spec_has_a_page():
    assert {page.stem for page in PAGES} == {spec.stem for spec in (ROOT / "specs").glob("*.yaml")}


def test_a_plain_decoder_adds_what_each_part_makes_to_the_stream():
    chart = drawn("llama")
    attention, mlp = chart.named("grouped-query attention"), chart.named("gated MLP")
    (first,) = [target for source, target, _ in chart.arrows if source == attention]
    (second,) = [target for source, target, _ in chart.arrows if source == mlp]
    assert chart.before(first) == {"x", "grouped-query attention"}
    assert chart.before(second) == {"+", "gated MLP"}
    assert chart.nodes[attention][1:] == (
        ("grouped-query attention", "RoPE"),
        ("num_hidden_layers layers, one after another",),
    )
    assert chart.behind(chart.named("head")) == {"logits": ""}


def test_a_parallel_block_has_one_norm_and_one_sum():
    chart = drawn("cohere2")
    norms = [name for name, (_, words, boxes) in chart.nodes.items() if words[0].startswith("LayerNorm") and boxes]
    assert len(norms) == 1 and {"grouped-query attention", "gated MLP"} <= set(chart.behind(norms[0]))
    (total,) = [name for name, (kind, _, _) in chart.nodes.items() if kind == "sum"]
    assert chart.before(total) == {"x", "grouped-query attention", "gated MLP"}


def test_sandwich_norms_stand_behind_what_they_norm_too():
    chart = drawn("gemma2")
    (behind,) = [target for source, target, _ in chart.arrows if source == chart.named("gated MLP")]
    assert chart.nodes[behind][1] == ("RMSNorm, 1 + w", "post_feedforward_layernorm")
    assert chart.behind(behind) == {"+": ""}


def test_a_hybrid_shows_its_schedule():
    chart = drawn("qwen3_next")
    ways = chart.behind(chart.named("layer_types[layer]"))
    assert ways == {
        "gated delta rule, decay by head": "linear_attention",
        "grouped-query attention": "full_attention",
    }


def test_layers_of_other_equations_are_blocks_of_their_own():
    chart = drawn("nemotron_v3")
    ways = chart.behind(chart.named("layers_block_type[layer]"))
    assert ways == {"x": "full_attention"}  # four of them, and a mapping keeps the last
    boxes = {boxes[1]: words[0] for kind, words, boxes in chart.nodes.values() if len(boxes) == 2 and kind == "part"}
    assert boxes == {
        "layers_block_type[layer]: linear_attention": "state spaces (Mamba-2)",
        "layers_block_type[layer]: moe": "shared experts",
        "layers_block_type[layer]: mlp": "plain MLP",
        "layers_block_type[layer]: full_attention": "grouped-query attention",
    }


def test_what_some_layers_have_is_told_with_its_condition():
    chart = drawn("gemma2")
    words = chart.nodes[chart.named("grouped-query attention")][1]
    assert "sliding window where layer_types[layer] is sliding_attention" in words
    assert "soft-capped scores" in words


def test_a_mixture_has_router_experts_and_shared_experts():
    chart = drawn("deepseek_v3")
    experts, shared = chart.named("num_local_experts experts"), chart.named("shared experts")
    assert chart.before(experts) == {"router", "x"} and chart.before(shared) == {"x"}
    assert chart.nodes[chart.named("router")][1][1:3] == ("top num_experts_per_tok", "sigmoid routing")
    assert chart.behind(chart.named("layer < first_k_dense_replace")) == {"x": "no", "gated MLP": "yes"}


def test_images_go_through_tower_and_projector_to_their_places():
    chart = drawn("llava")
    merged = chart.named("rows of images at their places in the text")
    assert chart.before(merged) == {"embedding", "linear"} and chart.behind(merged) == {"x": ""}
    assert chart.behind(chart.named("images")) == {"vision tower": ""}
    assert chart.before(chart.named("act")) == {"linear"}


def test_the_command_prints_it(tmp_path):
    project = Project(tmp_path, stub=False)
    project.write("specs/small.yaml", "name: small\nconfig: transformers:LlamaConfig\narchitecture: SmallForCausalLM\n")
    done = project.run("explain", "small", "--graph")
    assert done.code == 0 and not loose_ends(read(done.out))
    told = project.run("explain", "small", "--graph", "--json").json
    assert told["graph"] == done.out
    refused = project.run("explain", "small", "norm", "--graph")
    assert refused.code == 2 and "leave the field out" in refused.err


def test_an_unknown_name_is_told():
    with pytest.raises(CodegenError, match="did you mean 'llama'"):
        graph("lama", ROOT)


WORDS = st.tuples(st.text(min_size=1))


@settings(deadline=None)
@given(WORDS, st.text(min_size=1), st.text())
def test_no_text_breaks_the_chart(words, condition, outcome):
    drawing = (Step(("x",), kind="data"), Step(words, (0,)), Step(("+",), (0, 1), "sum"))
    fork = Fork(condition, ((outcome, drawing), ("else", drawing)))
    chart = read(mermaid(Picture(drawing, "n", fork, fork, drawing)))
    assert not loose_ends(chart)
    shown = {words[0] for _, words, _ in chart.nodes.values()}
    assert {" ".join(words[0].split()), " ".join(condition.split())} <= shown
