"""Drafts of models of images and text: their parts, what is undecided, and what comes back where the spec is hidden."""

import json
import shutil

import pytest

from codegen.errors import CodegenError
from codegen.generate import plan_any, read_any
from codegen.language.vision.equations import calls
from codegen.language.vision.sections import ProjectorModule
from codegen.new import draft
from codegen.plan.vision.asked import Asked
from codegen.plan.vision.disk import prefixes
from tests.codegen.new.checkpoints import checkpoint
from tests.codegen.new.images import FAMILIES, ROOT, committed, save
from tests.codegen.new.test_larger_models import TEXT, text

PIXELS = {"model.vision_tower.embed.weight": [32, 3, 4, 4], "model.vision_tower.norm.weight": [32]}
LLAVA = {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"], "projector_hidden_act": "gelu"}
LLAVA |= {"image_token_index": 9}
LLAMA = {**TEXT, "model_type": "llama"}
TOWER = {"model_type": "clip_vision_model", "hidden_size": 32}


@pytest.fixture
def tree(tmp_path):
    """A root with the specs that stand here, without some."""

    def made(without=()):
        specs = tmp_path / "tree/specs"
        shutil.copytree(ROOT / "specs", specs, ignore=lambda _, names: {f"{name}.yaml" for name in without})
        return tmp_path / "tree"

    return made


def shape(spec):
    """What a projector is made of: classes, or what its equations call, whatever order merged patches have."""
    projector = spec.spec.projector
    return projector.class_ if isinstance(projector, ProjectorModule) else sorted(calls(spec.spec.equations))


def tower(spec):
    """The class of a tower, be it AutoModel's choice."""
    named = spec.spec.vision.tower
    return spec.config_class.model.get("tower", "auto") if named in (None, "auto") else named


@pytest.mark.parametrize("name", FAMILIES)
def test_without_its_spec_a_family_gets_a_draft_with_its_parts(name, tree, tmp_path):
    save(name, tmp_path / "checkpoint")
    root, real = tree([name]), committed(name)
    made = draft(tmp_path / "checkpoint", root, name)
    assert made.written and made.kind == "vlm" and not made.problems and not made.missing
    found = read_any(root / made.spec, root)
    plan_any(found)
    assert (found.text_spec, found.config.class_name) == (real.text_spec, real.config.class_name)
    assert found.architectures[0] in real.architectures and found.is_overlaid == real.is_overlaid
    assert prefixes(Asked(found)) == prefixes(Asked(real))
    assert shape(found) == shape(real)
    assert type(found.spec.positions) is type(real.spec.positions)
    if real.config_class.model:  # what the class of transformers tells
        assert tower(found) == tower(real)
        assert found.spec.merge.deepstack == real.spec.merge.deepstack
    assert [line.partition(":")[0] for line in made.parts] == [
        *("text", "tower", "projector", "merge", "positions"),
        "processor",
    ]
    assert made.uncertain and f"codegen parity {name}" in made.tests


def drafted(root, tmp_path, config, tensors, name="probe"):
    return draft(checkpoint(tmp_path / "one", config, tensors), root, name, write=False)


def whole(projector, **fields):
    """A model over Llama whose projector has these tensors."""
    tensors = {f"model.multi_modal_projector.{name}": size for name, size in projector.items()}
    tensors |= PIXELS | {name: size for name, size in text("model.language_model").items() if "_norm.w" not in name}
    return {**LLAVA, "text_config": LLAMA, "vision_config": TOWER, **fields}, tensors


PROJECTORS = {
    "one map": ({"linear.weight": [64, 32]}, "x = linear(x)"),
    "two maps": (
        {"fc_a.weight": [48, 32], "fc_b.weight": [64, 48]},
        "x = fc_b(act(fc_a(x)))",
    ),
    "numbers": ({"0.weight": [48, 32], "2.weight": [64, 48]}, "x = linear_2(act(linear_1(x)))"),
    "patches that become one row": (
        {"norm.weight": [32], "fc.weight": [64, 128]},
        "x = fc(merge_patches(norm(x), config.vision_config.spatial_merge_size))",
    ),
    "a norm behind the merge": (
        {"norm.weight": [128], "norm.bias": [128], "fc.weight": [64, 128]},
        "x = fc(norm(merge_patches(x, config.vision_config.spatial_merge_size)))",
    ),
    "a norm at the end": ({"fc.weight": [64, 32], "norm.weight": [64]}, "x = norm(fc(x))"),
    "a gate": (
        {"fc_a.weight": [96, 32], "fc_b.weight": [64, 48]},
        "projector: ['h, gate = chunk(fc_a(x), 2)', x = fc_b(act(gate) * h)]",
    ),
}


@pytest.mark.parametrize("case", PROJECTORS)
def test_a_projector_is_told_by_its_shapes(case, tmp_path):
    tensors, expected = PROJECTORS[case]
    config, tensors = whole(tensors, model_type="brandnew", vision_config={**TOWER, "spatial_merge_size": 2})
    made = drafted(ROOT, tmp_path, config, tensors)
    assert not made.problems, made.text
    assert expected in made.text or expected == "x = linear_2(act(linear_1(x)))"  # the default is not written


def test_a_projector_that_is_no_sequence_is_the_class_that_stands_there(tmp_path):
    config, tensors = whole({"conv.weight": [64, 32, 3, 3]})
    made = drafted(ROOT, tmp_path, config, tensors)
    assert "llava.LlavaMultiModalProjector" in made.text
    assert not made.problems
    config["model_type"] = "brandnew"
    made = drafted(ROOT, tmp_path, config, tensors)
    assert any("projector: TODO: it is no sequence of maps (conv)" in line for line in made.uncertain)


def test_a_text_that_no_spec_has_is_named_with_the_nearest(tmp_path):
    config, tensors = whole({"linear.weight": [64, 32]}, text_config={**LLAMA, "model_type": "unheard_of"})
    made = drafted(ROOT, tmp_path, config, tensors)
    assert any("no spec is that of unheard_of; this is the nearest" in line for line in made.uncertain)
    assert any("the nearest to unheard_of, undecided" in line for line in made.parts)


def test_an_unknown_model_type_declares_its_class(tmp_path):
    config, tensors = whole({"linear.weight": [64, 32]}, model_type="brandnew", image_token_id=7, auto_map={"A": "b.C"})
    made = drafted(ROOT, tmp_path, config, tensors, "brandnew")
    assert not made.problems and "class: LlavaConfig" in made.text and "image_token_id: 7" in made.text
    assert any("code of its own: nothing of it was run" in note for note in made.notes)
    assert any("they need a reference" in line for line in made.tests)


def test_without_tensors_the_class_is_what_tells(tmp_path):
    fields = {"text_config": {"model_type": "qwen3_vl_text"}, "vision_config": {"depth": 3}, "image_token_id": 5}
    text_config = {**TEXT, **fields["text_config"]}
    config = {"model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"], **fields}
    made = drafted(ROOT, tmp_path, config | {"text_config": text_config}, None)
    assert not made.problems and "projector: none" in made.text and "order: interleaved" in made.text
    assert "grid_thw: image_grid_thw" in made.text and "deepstack_features" in made.text
    assert any("no tensor names were seen" in note for note in made.notes)


def test_a_placeholder_outside_of_the_vocabulary_is_looked_up_elsewhere(tmp_path):
    config, tensors = whole({"linear.weight": [64, 32]}, image_token_index=100)
    made = drafted(ROOT, tmp_path, config, tensors)
    assert not made.problems and "lookup: '0 if token >= config.text_config.vocab_size else token'" in made.text


def test_what_belongs_to_no_part_is_told(tmp_path):
    config, tensors = whole({"linear.weight": [64, 32]})
    made = drafted(ROOT, tmp_path, config, tensors | {"model.decoder_of_images.conv.weight": [8, 8, 3, 3]})
    assert "model.decoder_of_images.*" in made.unexplained and "match: model.decoder_of_images.*" in made.text


def test_tiles_are_told_by_the_newline_and_the_grids(tmp_path):
    config, tensors = whole({"linear.weight": [64, 32]}, model_type="llava_next", image_grid_pinpoints=[[4, 8]])
    made = drafted(ROOT, tmp_path, config, tensors | {"model.image_newline": [64]})
    assert (
        not made.problems
        and "pack_tiles(linear(x), image_newline)" in made.text
        and "real_tiles(pixel_values)" in made.text
    )


def test_the_text_alone_can_be_drafted_and_sound_has_no_language(tmp_path):
    config, tensors = whole({"linear.weight": [64, 32]})
    folder = checkpoint(tmp_path / "one", config, tensors)
    assert "ForCausalLM" in draft(folder, ROOT, "probe", write=False, text=True).text
    sound = {**config, "audio_config": {"hidden_size": 4}}
    del sound["vision_config"]
    (folder / "config.json").write_text(json.dumps(sound))
    made = draft(folder, ROOT, "probe", write=False)
    assert any("no language for sound" in note for note in made.notes)


def test_an_existing_spec_is_not_overwritten(tmp_path):
    config, tensors = whole({"linear.weight": [64, 32]})
    with pytest.raises(CodegenError, match="specs/llava.yaml exists already"):
        draft(checkpoint(tmp_path / "one", config, tensors), ROOT)
