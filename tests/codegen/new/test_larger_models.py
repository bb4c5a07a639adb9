"""What only some published files have: towers beside the text, numbers that are none, layers beyond the last."""

import json
import math
from pathlib import Path

import pytest
import yaml

from codegen.configs import table
from codegen.new import draft
from codegen.new.language import text_tensors
from codegen.new.source import read
from tests.codegen.new.checkpoints import checkpoint, expanded

ROOT = Path(__file__).parents[3]
TEXT = {
    **{"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"num_hidden_layers": 2, "vocab_size": 100, "hidden_act": "silu", "rms_norm_eps": 1e-6, "head_dim": 16},
    **{"max_position_embeddings": 128, "rope_theta": 10000.0, "tie_word_embeddings": False},
}
ATTENTION = {"q_proj": [64, 64], "k_proj": [32, 64], "v_proj": [32, 64], "o_proj": [64, 64]}
MLP = {"gate_proj": [160, 64], "up_proj": [160, 64], "down_proj": [64, 160]}
LAYER = {
    **{f"self_attn.{name}": shape for name, shape in ATTENTION.items()},
    **{"self_attn.q_norm": [16], "self_attn.k_norm": [16]},
    **{f"mlp.{name}": shape for name, shape in MLP.items()},
    **{"input_layernorm": [64], "post_attention_layernorm": [64]},
}
TOWER = {"norm1": [32], "norm2": [32], "attn.qkv": [96, 32], "attn.proj": [32, 32], "mlp.fc1": [64, 32]}


def text(model, head="lm_head", layers=2):
    """Tensors of a Qwen3 below a module."""
    inside = {f"{model}.layers.{{layer}}.{name}.weight": shape for name, shape in LAYER.items()}
    ends = {"embed_tokens": [100, 64], "norm": [64]}
    around = {f"{model}.{name}.weight": shape for name, shape in ends.items()} | {f"{head}.weight": [100, 64]}
    return {**expanded(inside, layers), **around}


def tower(module, layers=9):
    """Tensors of a tower with more layers than the text has, layer norms with biases and a table of positions."""
    inside = {f"{module}.blocks.{{layer}}.{name}.{end}": [32] for name in TOWER for end in ("weight", "bias")}
    return {**expanded(inside, layers), f"{module}.pos_embed.weight": [16, 32], f"{module}.merger.norm.bias": [32]}


LAYOUTS = {
    "text inside the base": ("model.language_model", "lm_head", "model.visual"),
    "tower beside the base": ("model", "lm_head", "visual"),
    "tower inside the base": ("model", "lm_head", "model.vision_tower"),
    "a whole language model": ("language_model.model", "language_model.lm_head", "vision_model"),
    "a tower without a word for it": ("model", "lm_head", "model.eyes"),
    "such a tower beside the base": ("model", "lm_head", "eyes"),
    "sound": ("language_model.model", "language_model.lm_head", "audio_tower"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("flat", [False, True])
def test_a_tower_leaves_no_trace_in_the_text(layout, flat, tmp_path):
    model, head, place = LAYOUTS[layout]
    config = {"model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"]}
    config |= {"vision_config": {"hidden_size": 32}} | (TEXT if flat else {"text_config": TEXT})
    made = draft(
        checkpoint(tmp_path / "one", config, text(model, head) | tower(place)), ROOT, "probe", write=False, text=True
    )
    assert not {"norm", "input", "output", "block", "layers"} & {line.split(":")[0] for line in made.text.splitlines()}
    assert made.nearest == "specs/qwen3.yaml" and not made.unexplained and not made.missing
    assert any("vision-language" in line for line in made.seen)
    told = f"{len(tower(place))} tensors are not the language model's: {'.'.join(place.split('.')[:2])}"
    assert any(line.startswith(told) for line in made.notes)


def test_a_projector_of_one_matrix_is_not_the_texts():
    kept = text_tensors({**text("model"), "mm_projector.weight": (64, 32), "image_newline": (64,)}, 2)
    assert kept.keys() == text("model").keys()


@pytest.mark.parametrize(
    ("model_type", "nearest"),
    [
        ("qwen3_vl_text", "qwen3"),
        ("glm4_moe_lite", "glm4_moe_lite"),
        ("qwen2_vl_text", "qwen2"),
        ("mistral", "mistral"),
    ],
)
def test_the_spec_of_the_same_type_is_the_nearest(model_type, nearest, tmp_path):
    found = table().for_model_type(model_type)
    config = {**TEXT, "model_type": model_type, "architectures": ["ProbeForCausalLM"], "num_local_experts": None}
    config |= {name: 8 for name in ("n_routed_experts", "num_experts_per_tok") if name in found.fields}
    made = draft(checkpoint(tmp_path / "one", config), ROOT, "probe", write=False)
    assert made.nearest == f"specs/{nearest}.yaml"


WORDS = '{"a": [0.0, Infinity], "b": -Infinity, "c": {"d": NaN}, "model_type": "x"}'
TAGGED = '{"a": [0.0, {"__float__": "Infinity"}], "b": {"__float__": "-Infinity"}, "c": {"d": {"__float__": "NaN"}}}'


@pytest.mark.parametrize("written", [WORDS, json.dumps(json.loads(TAGGED) | {"model_type": "x"})])
def test_numbers_without_end_are_read_as_transformers_does(written, tmp_path):
    (tmp_path / "config.json").write_text(written)
    config = read(tmp_path / "config.json").config
    assert config["a"] == [0.0, math.inf] and config["b"] == -math.inf and math.isnan(config["c"]["d"])


def test_a_spec_cannot_hold_them(tmp_path):
    config = {**TEXT, "model_type": "x", "architectures": ["XForCausalLM"], "limit": [0.0, math.inf]}
    made = draft(checkpoint(tmp_path / "one", config), ROOT, "probe", write=False)
    assert "limit" not in made.text and not made.problems
    assert any("no field can have: limit" in line for line in made.seen)


def test_no_layer_is_named_by_its_number(tmp_path):
    specs = tmp_path / "tree/specs"
    specs.mkdir(parents=True)
    lines = [
        *(
            "name: qwen3",
            "attention: {qk_norm: head}",
            "checkpoint: {drop: [{match: model.layers.61.*, why: a}, {match: '*.aux', why: b}]}",
        ),
        *("layers:", "- {when: layer == 3, attention: {window: 4}}", "- {when: 'layer in [1]', rope: none}"),
        *("- {when: layer % 4 == 3, rope: none}", "- {when: layer == 0, attention: {softcap: 3.0}}"),
    ]
    (specs / "qwen3.yaml").write_text("\n".join(lines) + "\n")
    config = {**TEXT, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    made = draft(checkpoint(tmp_path / "one", config), tmp_path / "tree", "probe", write=False)
    assert "layers.61" not in made.text and "*.aux" in made.text
    assert "layer == 3" not in made.text and "layer in" not in made.text
    assert "layer % 4 == 3" in made.text and "layer == 0" in made.text


def test_layers_beyond_the_last_are_not_the_texts(tmp_path):
    config = {**TEXT, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    beyond = {"model.layers.2.eh_proj.weight": [64, 128], "model.layers.2.enorm.weight": [64]}
    made = draft(checkpoint(tmp_path / "one", config, text("model", layers=3) | beyond), ROOT, "probe", write=False)
    assert made.alike > 0.8 and not made.unexplained and "eh_proj" not in made.text
    assert any("layers 2 of model.layers lie at or beyond" in line for line in made.notes)


@pytest.mark.parametrize("place", ["", "audio_encoder", "eyes"])
def test_a_causal_class_without_tensors_of_a_tower_is_plain(place, tmp_path):
    """Whatever larger model its config is one of."""
    config = {
        "model_type": "speaks",
        "architectures": ["SpeaksForCausalLM"],
        "audio_encoder_config": {"dim": 8},
        **TEXT,
    }
    made = draft(checkpoint(tmp_path, config, text("model") | (tower(place) if place else {})), ROOT, write=False)
    assert (made.kind == "vlm") == bool(place)


@pytest.mark.parametrize(("size", "said"), [(100, None), (98, "config.vocab_size + 2")])
def test_rows_beyond_the_vocabulary_are_written(size, said, tmp_path):
    config = {"model_type": "more", "architectures": ["MoreForCausalLM"], **TEXT, "vocab_size": size}
    made = draft(checkpoint(tmp_path, config, text("model")), ROOT, write=False)
    assert (yaml.safe_load(made.text).get("embedding") or {}).get("rows") == said
