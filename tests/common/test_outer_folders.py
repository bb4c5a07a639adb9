"""Folders of an outer class load their text half: the class, its config, the names on disk, and what is left out."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from codegen.language.check import read_spec
from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel._transformers.dispatch import text_half
from nemo_automodel._transformers.lookup import resolve_type
from nemo_automodel.parity.newer import refuse_newer
from tests.common.outer_folders import LAYOUTS, build, llava, text_logits

IDS = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(1))


def load(folder, **options):
    options = {"dtype": torch.float32, "attn_implementation": "eager"} | options
    return NeMoAutoModelForCausalLM.from_pretrained(folder, **options)


def close(ours, theirs):
    with torch.no_grad():
        return (ours(input_ids=IDS).logits - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("projections", ["split", "packed"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_text_half_is_loaded(layout, projections, tmp_path):
    make, name = LAYOUTS[layout]
    outer = build(make)
    outer.save_pretrained(tmp_path)
    model, info = load(tmp_path, backend={"projections": projections}, output_loading_info=True)
    assert type(model).__name__ == name and type(model).__module__.startswith("nemo_automodel.")
    assert close(model, text_logits(outer, IDS))
    stored = set(load_file(tmp_path / "model.safetensors"))
    assert info["left_out_keys"] == {name for name in stored if "language_model" not in name}
    model.save_pretrained(tmp_path / "text")
    assert json.loads((tmp_path / "text/config.json").read_text())["model_type"] == model.config.model_type
    assert close(load(tmp_path / "text"), text_logits(outer, IDS))


@pytest.mark.parametrize("flags", [(True, False), (False, True)], ids=["outer", "text"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_text_half_is_tied_as_the_whole_is(layout, flags, tmp_path):
    """Which flag counts depends on the outer class: Llama 4's text half is a causal model by itself."""
    make, _ = LAYOUTS[layout]
    outer = build(make, *flags)
    outer.save_pretrained(tmp_path)
    model = load(tmp_path)
    is_tied = outer.get_output_embeddings().weight is outer.get_input_embeddings().weight
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == is_tied
    assert is_tied == (outer.config.text_config if layout == "llama4" else outer.config).tie_word_embeddings
    assert close(model, text_logits(outer, IDS))


def test_flags_that_differ_are_refused_where_no_class_tells_which_counts():
    _, config = llava()
    fields = {name: value for name, value in config.to_dict().items() if name != "model_type"}
    other = type("OtherConfig", (type(config),), {"model_type": "other_vl"})(**fields)
    other.tie_word_embeddings, other.text_config.tie_word_embeddings = True, False
    other.architectures = ["OtherForConditionalGeneration"]
    with pytest.raises(ValueError, match="OtherConfig says tie_word_embeddings: True, its text half False"):
        text_half(other)
    other.text_config.tie_word_embeddings = True
    assert text_half(other).tie_word_embeddings is True


@pytest.mark.parametrize("layout", LAYOUTS)
def test_built_from_the_config_of_an_outer_class(layout, tmp_path):
    make, name = LAYOUTS[layout]
    outer = build(make)
    assert type(NeMoAutoModelForCausalLM.from_config(outer.config)).__name__ == name
    outer.config.save_pretrained(tmp_path)
    model = NeMoAutoModelForCausalLM.from_config(tmp_path, num_hidden_layers=1)
    assert type(model).__name__ == name and model.config.num_hidden_layers == 1


def test_names_inside_the_base_model(tmp_path):
    """`model.language_model.layers...` beside `lm_head`: as some outer classes write it."""
    outer = build(llava)
    outer.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    names = {
        "language_model.model.": "model.language_model.",
        "language_model.lm_head": "lm_head",
        "vision": "model.vision",
    }
    stored = load_file(file)
    for old, new in names.items():
        stored = {new + name.removeprefix(old) if name.startswith(old) else name: t for name, t in stored.items()}
    save_file(stored, file, {"format": "pt"})
    assert close(load(tmp_path), text_logits(outer, IDS))


def test_a_lost_text_tensor_is_told_by_its_name_on_disk(tmp_path):
    build(llava).save_pretrained(tmp_path)
    file, lost = tmp_path / "model.safetensors", "language_model.model.layers.1.self_attn.k_proj.weight"
    stored = load_file(file)
    del stored[lost]
    save_file(stored | {"language_model.model.extra": torch.ones(1)}, file, {"format": "pt"})
    with pytest.raises(
        ValueError, match=f" {lost}: the checkpoint has none(.|\n)* language_model.model.extra: nothing"
    ):
        load(tmp_path)


def test_a_text_half_that_is_not_registered_names_the_other_entry_point():
    config = AutoConfig.for_model("qwen2_vl")
    with pytest.raises(ValueError, match="use NeMoAutoModelForImageTextToText"):
        NeMoAutoModelForCausalLM.from_config(config)


# examples whose folders on the hub are of an outer class; the contract of each family holds the layout of the others
PUBLISHED_OUTSIDE = {"aria_text": "aria", "llama4_text": "llama4", "mistral4": "mistral4"}


@pytest.mark.parametrize("example", sorted(path.stem for path in Path("examples/llm_finetune").glob("*/*.yaml")))
def test_every_example_names_a_layout_that_is_held(example):
    class_name = read_spec(Path(f"specs/{example}.yaml"), Path()).config.class_name
    refuse_newer(f"transformers:{class_name}")
    known = getattr(transformers, class_name, None)  # a spec may have another name than the type
    target = resolve_type(example) or resolve_type(known.model_type)
    if example in PUBLISHED_OUTSIDE:
        make, name = LAYOUTS[PUBLISHED_OUTSIDE[example]]
        assert type(make()[1].get_text_config()) is target.config_class and target.__name__ == name
    else:
        assert Path(f"tests/unit_tests/models/{example}/test_{example}.py").is_file() and target
