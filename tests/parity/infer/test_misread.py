"""Whether a model of a spec follows every field of its config that transformers' class follows."""

import pytest

from codegen.language.check import specs_of_text
from nemo_automodel.parity.infer.misread import misread
from nemo_automodel.parity.project import open_project
from tests.parity.conftest import ROOT

# In every run: what each kind of mixer reads, and families in which a field was misread before.
ALWAYS = ("aria_text", "gemma2", "mamba", "mamba2", "modernbert_decoder", "nemotron_v3", "qwen3_moe")
UNASKED = ("baichuan", "kimi_k2", "moshi")  # no class of transformers, or none that takes text alone


def families():
    for name in sorted(path.stem for path in specs_of_text(ROOT / "specs")):
        if name not in UNASKED:
            yield pytest.param(name, marks=[] if name in ALWAYS else [pytest.mark.full])


@pytest.mark.parametrize("name", [*families()])
def test_no_field_is_misread(name):
    assert not misread(open_project(name, ROOT), (ROOT / f"specs/{name}.yaml").read_text())


def test_a_field_that_a_spec_leaves_out_is_told():
    written = (ROOT / "specs/modernbert_decoder.yaml").read_text()
    named = "act(lm_head.dense(final_norm(x)), config.classifier_activation)"
    text = written.replace(named, "gelu(lm_head.dense(final_norm(x)))")
    found = misread(open_project("modernbert_decoder", ROOT), text)
    assert text != written and [one.field for one in found] == ["classifier_activation"]
