"""Specs that are found: hidden ones of the tree, from drafts that are wrong in one thing or several."""

import pytest

from codegen.errors import CodegenError
from nemo_automodel.parity.infer.budget import Budget
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.cases import Cases
from nemo_automodel.parity.infer.donors import Donors
from nemo_automodel.parity.infer.judge import Judge
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.infer.report import as_dict, written
from nemo_automodel.parity.infer.search import Found, Search, search
from nemo_automodel.parity.infer.start import start
from nemo_automodel.parity.infer.told import counted
from nemo_automodel.parity.sensitivity import generated
from tests.parity.conftest import ROOT

SECONDS = 120
# Of each what its draft lacks: a kind of norm; a scale and a soft cap; layers that are told by a list; names of
# modules; factors of the block; a fused tensor that lies turned. Of images and text: the first position and the mask;
# what of the tower goes on, under a condition.
SAMPLE = ("jais2", "gemma2", "smollm3", "mixtral", "minicpm3", "aria_text", "paligemma", "internvl")
MORE = (
    "qwen3",
    "helium",
    "hunyuan_v1_dense",
    "glm",
    "glm4",
    "phi",
    "biogpt",
    "cwm",
    "modernbert_decoder",
    "persimmon",
    "deepseek_v2",
    "phimoe",
    "gpt_neox",
    "stablelm",
    "nanochat",
    "flint",
    "aya_vision",
    "idefics2",
    "janus",
    "qwen3_vl_moe",
    "video_llava",
    "vipllava",
    # mixers with a state, in all layers or in some
    *("mamba", "mamba2", "falcon_mamba", "bamba", "lfm2", "lfm2_moe", "recurrent_gemma", "kimi_linear"),
    *("qwen3_5_text", "qwen3_5_moe_text", "qwen3_next"),
    "granitemoeshared",  # a part beside the MLP, where the config has one
)
ALL = [*SAMPLE, *(pytest.param(name, marks=pytest.mark.full) for name in MORE)]


def ignored(step):
    """Progress that nobody sees."""


@pytest.mark.parametrize("name", ALL)
def test_a_hidden_spec_is_found(hidden, name):
    there = hidden(name)
    found = search(start(there.checkpoint, there.tree, name), there.tree, SECONDS, ignored)
    assert found.stop is None, (found.stop, found.steps)
    files = generated(written(found.candidate), there.project)
    assert there.bench.notices(files) is None  # the hidden spec's own contract, on its own configs


def test_published_flags_that_nothing_reads_are_told_to_tests(hidden):
    """Where the class has them otherwise by itself, it is another model: here its stream has another dtype."""
    there = hidden("mamba")
    begun = start(there.checkpoint, there.tree, "mamba")
    found = search(begun, there.tree, SECONDS, ignored)
    assert found.proven and found.candidate.data["tests"] == {"tiny": {"residual_in_fp32": False}}


def test_how_many_experts_a_class_takes_by_itself_is_told_to_tests(hidden):
    there = hidden("phimoe")
    begun = start(there.checkpoint, there.tree, "phimoe")
    cases = Cases(begun.subject, begun.own, Budget(SECONDS))
    for number, told in ((3, {"tests": {"tiny": {"num_experts_per_tok": 2}}}), (2, None)):
        cases.restart(begun.subject)
        assert cases.add("base", there.project.configs["base"] | {"num_experts_per_tok": number})
        other = counted(begun.candidate, cases)
        assert (other and other.data) == (told and {**begun.candidate.data, **told})


def test_what_is_not_found_is_told(hidden):
    """The budget is spent at once: nothing is called proven, and the first component that differs is named."""
    there = hidden("jais2")
    begun = start(there.checkpoint, there.tree, "jais2")
    told = as_dict(begun, search(begun, there.tree, 0.0, ignored))
    assert not told["proven"]
    assert told["exit_code"] == 1
    assert told["open"]["configuration"] == "base"
    assert any(path.endswith("norm") for path in told["open"]["components"])


def test_nothing_is_proven_where_no_config_can_be_run(hidden):
    there = hidden("jais2")
    begun = start(there.checkpoint, there.tree, "jais2")
    judge = Judge(begun.subject, "jais2", {})
    assert judge.stop(begun.candidate) is None  # nothing was asked
    unasked = Found(begun.candidate, None, [])
    assert not as_dict(begun, unasked)["proven"]


def test_one_config_proves_nothing(hidden):
    there = hidden("jais2")
    begun = start(there.checkpoint, there.tree, "jais2")
    cases = Cases(begun.subject, begun.own, Budget(SECONDS))
    looked = Search(
        Judge(begun.subject, "jais2", cases.oracles), cases, Donors(there.tree, "jais2"), there.tree, ignored
    )
    for name, values in (("base", {}), ("other", {"rms_norm_eps": 0.5})):
        assert not as_dict(begun, looked.ended(begun.candidate, None, proven=True))["proven"]
        assert cases.add(name, there.project.configs["base"] | values)
    assert looked.ended(begun.candidate, None, proven=True).proven


@pytest.mark.parametrize(
    ("written_there", "wrong", "where"),
    [
        ("qk_norm: head", "rope: {layout: interleaved}\nattention: {qk_norm: head}", "model.layers.0.self_attn"),
        ("qk_norm: head", "norm: {eps: 0.5}\nattention: {qk_norm: head}", "input_layernorm"),
        ("qk_norm: head", "block: parallel\nattention: {qk_norm: head}", None),
    ],
)
def test_the_first_difference_is_where_the_mistake_is(hidden, written_there, wrong, where):
    there = hidden("qwen3")
    assert written_there in (ROOT / "specs/qwen3.yaml").read_text()
    begun = start(there.checkpoint, there.tree, "qwen3")
    judge = Judge(begun.subject, "qwen3", {"base": Oracle(begun.subject, there.project.configs["base"])})
    right = Candidate.read(
        'name: qwen3\nattention: {qk_norm: head}\nlayers: {by: "config.layer_types[layer]"}\n', "qwen3"
    )
    assert judge.stop(right) is None
    stop = judge.stop(Candidate.read(f'name: qwen3\n{wrong}\nlayers: {{by: "config.layer_types[layer]"}}\n', "qwen3"))
    assert stop is not None
    if where is None:
        assert stop.what in ("tensors", "outputs, one")
    else:
        assert any(one.where.endswith(where) for one in stop.inmost)


def test_classes_that_transformers_lacks_are_refused(hidden, tmp_path):
    there = hidden("jais2")
    (tmp_path / "config.json").write_text('{"model_type": "unheard_of", "hidden_size": 8, "num_hidden_layers": 2}')
    with pytest.raises(CodegenError, match="only its own classes are run here.*nothing can prove"):
        start(tmp_path, there.tree, "unheard_of")


def test_precisions_of_fp32_stay_wherever_they_stand(hidden, monkeypatch):
    """Even where nothing tells: they show where weights that stay fp32 are cast all the same."""
    there = hidden("jais2")
    begun = start(there.checkpoint, there.tree, "jais2")
    looked = Search(
        Judge(begun.subject, "jais2", {}),
        Cases(begun.subject, begun.own, Budget(SECONDS)),
        Donors(there.tree, "jais2"),
        there.tree,
        ignored,
    )
    monkeypatch.setattr(looked.judge, "tells", lambda other, _: bool(other.problems))
    layers = [{"when": "layer == 0", "attention": {"softmax_dtype": "float32", "scale": 1}}]
    written = begun.candidate.with_({"name": "jais2", "mlp": {"dtype": "model"}, "layers": layers})
    kept = [{"when": "layer == 0", "attention": {"softmax_dtype": "float32"}}]
    assert looked.shortened(written).data == {"name": "jais2", "layers": kept}
