"""What a spec of images and text lays on the spec of its text: that half alone changes, and mistakes are told there."""

import ast

import pytest

from codegen.configs import table
from codegen.errors import SpecError
from codegen.generate import plan_any, read_any
from codegen.language.check import read_text
from codegen.language.loaded import config_class
from codegen.plan.model import build
from codegen.render.files import model_files as text_files
from codegen.render.image_text import model_files, render_image_text
from tests.codegen.vision.test_specs import ROOT, planned

WIRED = "text: {spec: llama, block: post_norm}\n"


def files(tmp_path, text, name="llava"):
    return model_files(planned(tmp_path, text, name).model)


@pytest.fixture
def plain(tmp_path_factory):
    return files(tmp_path_factory.mktemp("plain"), "text: llama\n")


def test_no_overlay_imports_the_text_model_of_its_spec(plain):
    assert set(plain) == {"__init__.py", "model.py", "state_dict_adapter.py"}
    assert "from nemo_automodel.components.models.llama.model import LlamaModel" in plain["model.py"]


def test_an_overlay_is_a_text_model_of_its_own(tmp_path):
    made = files(tmp_path, WIRED)
    assert set(made) - {"__init__.py", "model.py", "state_dict_adapter.py"} == {
        "text/__init__.py",
        "text/model.py",
        "text/state_dict_adapter.py",
    }
    assert "from nemo_automodel.components.models.llava.text.model import" in made["model.py"]
    assert "models.llama" not in "".join(made.values())
    assert "x = x + self.post_attention_layernorm(self.self_attn(x, **context)[0])" in made["text/model.py"]


def test_an_overlay_changes_the_text_half_and_only_it(tmp_path, plain):
    """The rest differs by the names of the text's classes, and names the one with a head."""
    made = files(tmp_path, WIRED)
    for name in ("model.py", "state_dict_adapter.py"):
        found = made[name].replace("    text_class = LlavaTextForCausalLM\n", "").replace("LlavaTextForCausalLM, ", "")
        found = found.replace("llava.text", "llama").replace("LlavaText", "Llama")
        assert code(found) == code(plain[name])


@pytest.mark.parametrize(
    "overlay",
    [
        "mlp: plain",
        "norm: {offset: 1}",
        "layers: {when: layer == 0, mlp: plain}",
        "rope: {layout: interleaved}",
        "attention: {bias: true, qk_norm: head}",
        "variants: {when: config.attention_bias, block: post_norm}",
        "checkpoint: {fused: {gate_up_proj: [gate, up]}}",
        "output: logits = lm_head(norm(x)) * 0.5",
    ],
)
def test_any_key_means_what_it_means_in_a_spec_of_text(tmp_path, overlay):
    made = files(tmp_path, f"text: {{spec: llama, {overlay}}}\n")
    alone = read_text(f"name: llama\nsummary: Alone.\n{overlay}\n", "specs/llama.yaml")
    wanted = text_files(build(alone, config_class(alone, table())))
    for name in ("model.py", "state_dict_adapter.py"):
        found = made[f"text/{name}"].replace("llava.text", "llama").replace("LlavaText", "Llama")
        assert code(found) == code(wanted[name])


def code(text):
    """Without the docstring; and imports in any order."""
    return sorted(map(ast.dump, ast.parse(text).body[1:]))


def test_what_an_overlay_does_not_say_is_that_of_the_spec_below(tmp_path):
    half = files(tmp_path, "text: {spec: gemma2, attention: {softcap: none}}\n")["text/model.py"]
    assert "config.query_pre_attn_scalar" in half and "attn_logit_softcapping" not in half


def test_layers_that_are_replaced_need_not_suit_the_config(tmp_path):
    """Qwen3's read a schedule that the config class of qwen3_vl's text lacks."""
    text = (
        "positions: {kind: mrope, order: interleaved}\nprojector: none\nvision: {inputs: {grid_thw: image_grid_thw}}\n"
    )
    problem = (
        r"^specs/qwen3_vl.yaml:2:7: text: layers.by of specs/qwen3.yaml:\d+:\d+: Qwen3VLTextConfig has no field "
        r"'layer_types'.*; write another `layers` in the overlay"
    )
    with pytest.raises(SpecError, match=problem):
        planned(tmp_path, f"text: {{spec: qwen3, attention: {{bias: false}}}}\n{text}", "qwen3_vl")
    (tmp_path / "specs/qwen3_vl.yaml").write_text(f"name: qwen3_vl\ntext: {{spec: qwen3, layers: []}}\n{text}")
    assert read_any(tmp_path / "specs/qwen3_vl.yaml", tmp_path).text.splits == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text: {spec: llama, mpl: plain}", r":2:21: text.mpl: is not a key here; did you mean 'mlp'"),
        ("text: {spec: lama, mlp: plain}", r":2:7: text: there is no spec 'lama' beside this one; .*'llama'"),
        (
            "text: {spec: llama, mlp: {kind: plane}}",
            r":2:33: text.mlp.kind: 'plane' is not known; did you mean 'plain'",
        ),
        ("text: {spec: llama, name: mine}", r":2:21: text.name: is not a key here"),
        ("text:\n  spec: llama\n  attention: {bais: true}", r":4:15: text.attention.bais: .*did you mean 'bias'"),
        (
            "text: {spec: llama, norm: {eps: config.epsilon}}",
            r":2:33: text.norm.eps: .*no field 'epsilon'",
        ),
        ("text: {spec: llama, layers: {when: layer == 0, mpl: plain}}", r":2:48: text.layers.mpl: is not a key here"),
        ("text: {spec: llama, layers: {mlp: plain}}", r":2:29: text.layers: needs exactly one of `by` and `when`"),
        ("text: {spec: llama, block: x = mlp(y)}", r":2:28: text.block.*: 'y' is not bound here"),
        (
            "text: {spec: llama, head: {tie: config.attention_bias}}",
            r":2:33: text.head.tie: no template yet for config.attention_bias; write config.tie",
        ),
        ("text: {spec: llama, norm: {eps: 1 / 0}}", r":2:33: text.norm.eps: .*zero"),
    ],
)
def test_a_mistake_has_its_place_and_its_cure(tmp_path, text, message):
    with pytest.raises(SpecError, match=rf"^specs/llava.yaml{message}"):
        planned(tmp_path, f"{text}\n")


def test_the_half_is_registered_under_its_own_names():
    """By type only where the type means this text alone."""
    made = render_image_text(planned_here("qwen3_vl"))
    whole, half = made.registry
    assert whole.texts == ("Qwen3VLForConditionalGeneration/qwen3_vl_text",) and whole.model_type is None
    assert (half.architectures, half.model_type) == (("Qwen3VLTextForCausalLM",), "qwen3_vl_text")
    assert half.module == "nemo_automodel.components.models.qwen3_vl.text.model"
    assert made.reads == ("specs/qwen3.yaml",)


def planned_here(name):
    return plan_any(read_any(ROOT / f"specs/{name}.yaml", ROOT))


def test_a_text_of_any_type_is_registered_by_its_architecture_alone(tmp_path):
    whole, half = render_image_text(planned(tmp_path, WIRED)).registry
    assert whole.texts == ("LlavaForConditionalGeneration/llama",)
    assert (half.architectures, half.model_type) == (("LlavaTextForCausalLM",), None)


def test_specs_of_one_architecture_have_halves_of_their_own(tmp_path):
    text = "architecture: LlavaForConditionalGeneration\ntext: {spec: mistral, mlp: plain}\n"
    plan = planned(tmp_path, text, "llava_over_mistral").model
    assert plan.half.architectures == ("LlavaOverMistralTextForCausalLM",)
