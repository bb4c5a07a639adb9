"""Equations of whole models are read off runs of transformers' classes, as the committed specs write them."""

import pytest
import torch

from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.fitted import Fitted, is_multiple
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.project import open_project
from tests.parity.conftest import ROOT


@pytest.mark.parametrize(
    ("name", "section", "lines"),
    [
        ("gemma2", "output", ["logits = softcap(lm_head(norm(x)), config.final_logit_softcapping)"]),
        ("gemma2", "input", ["x = embed_tokens(ids) * sqrt(config.hidden_size)"]),
        ("recurrent_gemma", "input", ["x = embed_tokens(ids) * bfloat16(sqrt(config.hidden_size))"]),
        ("gpt2", "input", ["x = wte(ids) + wpe(positions)"]),
        # tables that are computed: by no module, and by one with rows before the first
        ("ctrl", "input", ["x = w(ids) * sqrt(config.n_embd) + sinusoid(positions)"]),
        ("xglm", "input", ["x = embed_tokens(ids) * sqrt(config.d_model) + embed_positions(positions + 2)"]),
        # one that is handed a mask of floats
        ("biogpt", "input", ["x = embed_tokens(ids) * sqrt(config.hidden_size) + embed_positions(positions + 2)"]),
        ("cohere", "block", ["h = input_layernorm(x)", "x = x + attention(h) + mlp(h)"]),
        ("granite", "output", ["logits = lm_head(norm(x)) / config.logits_scaling"]),
        # a function that is a module of its own
        ("modernbert_decoder", "output", ["logits = decoder(lm_head.norm(gelu(lm_head.dense(final_norm(x)))))"]),
        # parts that add what goes round them themselves
        ("bloom", "block", ["x = x + attention(input_layernorm(x))", "x = x + mlp(post_attention_layernorm(x))"]),
        # an MLP whose projections lie in the layer
        ("opt", "block", ["x = x + attention(self_attn_layer_norm(x))", "x = x + mlp(final_layer_norm(x))"]),
    ],
)
def test_what_a_run_shows(name, section, lines):
    project = open_project(name, ROOT)
    candidate = Candidate.read((ROOT / f"specs/{name}.yaml").read_text(), name)
    found = Fitted(candidate, Oracle(project.subject(), project.configs["base"])).sections()
    assert (section, lines) in list(found)


def test_computed_tables_are_parts_that_are_written_with_the_equation_that_calls_them():
    project = open_project("xglm", ROOT)
    candidate = Candidate.read((ROOT / "specs/xglm.yaml").read_text(), "xglm")
    found = Fitted(candidate, Oracle(project.subject(), project.configs["base"])).puts()
    both = next(value for path, value in found if path == ())
    assert both["parts", "embed_positions"] == {"kind": "sinusoid", "rule": "tensor2tensor"}
    assert "embed_positions(positions + 2)" in both["input",][0]


def test_rows_of_a_table_are_known_scaled_and_for_all_texts_at_once():
    table = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    table[1] = table[0]
    assert is_multiple(table, table * 2.5)
    assert is_multiple(table, table[:1])
    assert is_multiple(table, table[0])
    assert not is_multiple(table, table.flip(1))
    assert not is_multiple(table, torch.ones(3, 3))
