"""Specs of vision-language models: how they are told, what they generate, and what they are refused for."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.errors import SpecError
from codegen.generate import plan_any, read_any
from codegen.language.check import is_of_images, of_images
from codegen.language.load import load
from codegen.render.image_text import model_files

ROOT = Path(__file__).parents[3]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
IMPORTED = re.compile(r"nemo_automodel\.components\.models\.(\w+)\.(?:text\.)?(?:model|state_dict_adapter)")


def planned(tmp_path, text, name="llava"):
    """The plan of a spec beside the text specs of the tree."""
    specs = tmp_path / "specs"
    specs.mkdir()
    for path in SPECS:
        if not of_images(path):
            (specs / path.name).symlink_to(path)
    (specs / f"{name}.yaml").write_text(f"name: {name}\n{text}")
    return plan_any(read_any(specs / f"{name}.yaml", tmp_path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: llava", True),
        ("name: mine\nprojector: none", True),
        ("name: mine\nconfig: transformers:LlavaConfig", True),
        ("name: llama", False),
        ("name: gemma3_text", False),
    ],
)
def test_a_spec_of_images_is_told_by_a_section_or_its_config_class(text, told):
    assert is_of_images(load(text, "case.yaml")) == told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("visoin: auto\nprocessor: P\n", r"llava.yaml:2:1: visoin: is not a key here; did you mean 'vision'"),
        ("text: lama\n", r"llava.yaml:2:7: text: there is no spec 'lama' beside this one; write text: .*'llama'"),
        ("projector: x = norm(x)\n", r"projector: 'norm' is called and is no linear map by its name; write parts"),
        ("projector: x = linear_1(y)\n", r"llava.yaml:2:12: projector: 'y' is not bound here"),
        ("projector: y = linear_1(x)\n", r"projector: the last equation does not bind x; end with x = ..."),
        (
            "projector: x = pack_tiles(x, y, 9)\n",
            r"llava.yaml:2:12: projector: 'y' is no parameter; write parts: {y: para",
        ),
        ("projector: x = linear_1(pack_tiles(x, y))\n", r"'pack_tiles\(x, y\)' is not allowed; write x = pack_tiles"),
        (
            "projector: ['x = pack_tiles(x, y)', x = linear_1(x)]\nparts: {y: parameter}\n",
            r"llava.yaml:2:.*rows of tiles are no pictures any more; put pack_tiles last",
        ),
        (
            "projector: x = linear_1(x + y)\nparts: {y: parameter}\n",
            r"parts.y: no template yet for a vector that is no",
        ),
        ("vision: {grid: image_sizes}\n", r"vision.grid: is read by no equation of a projector; remove it, or call"),
        ("parts: {y: parameter}\n", r"parts.y: is called by no equation"),
        ("parts: {linear_1: parameter}\n", r"parts.linear_1: 'linear_1' is a vector, and is called; write linear"),
        ("projector: x = merge_patches(x, 2, rast)\n", r"'rast' is no order; did you mean 'raster'"),
        (
            "projector: {config: config.vision_config}\n",
            r"llava.yaml:2:12: projector: names no class; write {class: f",
        ),
        ("projector: {class: AriaProjector}\n", r"projector.class: 'AriaProjector' names no class; write family.Class"),
        (
            "projector: {class: a.B, inputs: {m: pixel}}\n",
            r"projector.inputs.m: 'pixel' is not known here; did you mean",
        ),
        ("projector: {class: a.B}\nparts: {norm: rmsnorm}\n", r"parts.norm: is called by no equation of the projector"),
        ("projector: {klass: a.B}\n", r"projector.klass: is not a key here; did you mean 'class'"),
        ("parts: {linear_3: {bias: false}}\n", r"llava.yaml:2:9: parts.linear_3: is called by no equation"),
        ("parts: {linear_1: {out: config.text_config.width}}\n", r"LlavaConfig has no field 'text_config.width'"),
        ("vision: {pixels: real_tiles(pixel_values)}\n", r"vision.pixels: LlavaConfig has no image_grid_pinpoints"),
        ("vision: {inputs: {sizes: image_size}}\n", r"'image_size' is not known here; did you mean 'image_sizes'"),
        ("vision: {tower: a.b.c.d}\n", r"vision.tower: 'a.b.c.d' names no class; write auto, or family.Class"),
        ("checkpoint: {names: {linear_3: a}}\n", r"checkpoint.names.linear_3: names no part"),
        ("checkpoint: {memory: {linear_3: a}}\n", r"checkpoint.memory.linear_3: names no part"),
        ("checkpoint: {vision: {name: {a: b}}}\n", r"checkpoint.vision.name: is not a key here; did you mean 'names'"),
        (
            "checkpoint: {vision: {names: {norm1: norm, norm2: norm}}}\n",
            r"llava.yaml:2:31: checkpoint.vision.names.norm1: 'norm2' is called 'norm' on disk too; names need a way",
        ),
        ("checkpoint: {vision: {fused: {qkv: [q]}}}\n", r"checkpoint.vision.fused.qkv.parts: is too short; at least 2"),
        ("checkpoint: {vision: {fused: {qkv: {parts: [q, k], groups: 2}}}}\n", r"fused.qkv: has groups, which a"),
        ("checkpoint: {vision: {fused: {qkv: [q, q]}}}\n", r"checkpoint.vision.fused.qkv: 'q' stands twice; write it"),
        ("checkpoint: {vision: {names: {q: r}, fused: {qk: [q, k]}}}\n", r"fused.qk: 'q' is among the names too"),
        ("vision: {config: {image_size: 3}}\n", r"llava.yaml:2:18: vision.config: has no class whose config it fills"),
        ("vision: {config: {image_size: config.size}}\n", r"vision.config.*: LlavaConfig has no field 'size'"),
        ("vision: {config: {image_size: pixel_values}}\n", r"vision.config.*'pixel_values' is not known here"),
        (
            "architecture: Mine\nconfig: {model_type: mine, class: MineConfig, fields: {a: 1}}\nmask: prefix\n",
            r"text: is missing beside a config class of its own; write text: <spec>",
        ),
        (
            "text: llama\nconfig: {model_type: mine, class: MineConfig, fields: {text_config: {}}}\n",
            r"llava.yaml:3:69: config.fields.text_config: is that of the text spec; remove it",
        ),
        ("tests: {disk: read}\n", r"llava.yaml:2:15: tests.disk: is an exception without a reason; add why"),
        ("head: {tie: config.text_config.ties}\n", r"head.tie: LlavaConfig has no field 'text_config.ties'"),
        ("vision: true\n", r"llava.yaml:2:9: vision.tower: must be text, not True"),
        ("vision: {inputs: {sizes: [1]}}\n", r"vision.inputs.sizes: must be an expression over tensors"),
        ("mask: prefixes\n", r"llava.yaml:2:7: mask: 'prefixes' is not known; did you mean 'prefix'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_its_cure(tmp_path, text, message):
    with pytest.raises(SpecError, match=message):
        planned(tmp_path, text)


def test_an_architecture_that_is_no_name_is_said_to_be_none(tmp_path):
    with pytest.raises(SpecError, match="architecture"):
        planned(tmp_path, "architecture: {strange: 1}\nmask: prefix\n", "another")


@pytest.mark.parametrize(
    ("vision", "wide"),
    [
        (
            "{width: 3 * config.vision_config.patch_size, output: last_hidden_state}",
            "3 * config.vision_config.patch_size",
        ),
        (
            "{width: config.vision_config.patch_size + 1}",
            "(config.vision_config.patch_size + 1) * layers(config.vision_feature_layer)",
        ),
    ],
)
def test_a_tower_may_give_rows_of_another_width(tmp_path, vision, wide):
    made = model_files(planned(tmp_path, f"vision: {vision}\nprojector: x = linear_1(x)\n").model)["model.py"]
    assert f"self.linear_1 = nn.Linear({wide}, config.text_config.hidden_size" in " ".join(made.split()).replace(
        "( ", "("
    )


def test_widths_follow_the_equations(tmp_path):
    text = """projector:
  - h, gate = chunk(linear_1(merge_patches(x, 2)), 2)
  - x = linear_2(silu(gate) * h)
parts: {linear_1: {out: 96}}
"""
    made = model_files(planned(tmp_path, text).model)["model.py"]
    wide = "2**2 * (config.vision_config.hidden_size * layers(config.vision_feature_layer))"
    assert re.sub(r"\s+", "", f"nn.Linear({wide}, 96, ") in re.sub(r"\s+", "", made)
    assert "nn.Linear(96 // 2, config.text_config.hidden_size" in re.sub(r"\(\s+", "(", made)
    assert "h, gate = self.linear_1(merged).chunk(2, dim=-1)" in made
    assert "return self.linear_2(self.silu(gate) * h)" in made


def test_what_the_adapter_says_of_the_tower(tmp_path):
    text = """checkpoint:
  names: {projector: mm, linear_1: proj.0}
  memory: {linear_1: first}
  vision:
    names: {layers: encoder.blocks, norm1: norm0, norm2: norm1}
    fused: {wqkv: [attn.q, attn.k, attn.v]}
    pairs: [attn.q, attn.k]
"""
    made = model_files(planned(tmp_path, text).model)
    held = {
        line.targets[0].id: ast.literal_eval(line.value)
        for line in ast.walk(ast.parse(made["state_dict_adapter.py"]))
        if isinstance(line, ast.Assign) and not isinstance(line.value, ast.Name)
    }
    assert held.pop("names").items() >= {"mm": "model.mm", "mm.proj.0": "model.mm.first"}.items()
    assert held == {
        "tower_names": {"encoder.blocks": "layers", "norm0": "norm1", "norm1": "norm2"},
        "tower_fused": {"wqkv": ("attn.q", "attn.k", "attn.v")},
        "tower_pairs": ("attn.q", "attn.k"),
    }
    assert "self.first = nn.Linear" in made["model.py"]


DECLARED = """architecture: MineForConditionalGeneration
config:
  model_type: mine
  class: MineConfig
  fields: {image_token_id: 5, sizes: [1], vision_config: {model_type: eye, depth: 9}}
text: kimi_k2
vision:
  tower: qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel
  config: {num_heads: config.vision_config.heads, window_size: 2 * config.vision_config.patch_size}
projector: none
"""


def test_a_config_class_of_its_own(tmp_path):
    """Its tower has the fields of the family's, those that are written, and those that `vision.config` reads."""
    plan = planned(tmp_path, DECLARED, "mine").model
    made = model_files(plan)
    assert "from nemo_automodel.components.models.kimi_k2.config import KimiK2Config" in made["config.py"]
    assert 'sub_configs = {"text_config": KimiK2Config, "vision_config": MineVisionConfig}' in made["config.py"]
    assert "sizes: list = field(default_factory=lambda: [1])" in made["config.py"]
    tower = made["config.py"].partition("class MineVisionConfig")[2].partition("class MineConfig")[0]
    assert 'model_type = "eye"' in tower and "depth: int = 9" in tower and "heads: int = 16" in tower
    assert "num_heads" not in tower and "window_size" not in tower and "patch_size: int = 14" in tower
    built = re.sub(r"\s+", "", made["model.py"].partition("build_tower(")[2].partition("self.language")[0])
    assert "num_heads=config.vision_config.heads,window_size=2*config.vision_config.patch_size" in built
    assert plan.config.owned and plan.text.types == ("kimi_k2",)


def test_a_config_class_of_its_own_over_an_overlay(tmp_path):
    text = DECLARED.replace("text: kimi_k2", "text: {spec: kimi_k2, rope: {layout: half}}")
    made = model_files(planned(tmp_path, text, "mine").model)
    assert "from nemo_automodel.components.models.kimi_k2.config import KimiK2Config" in made["config.py"]
    assert "from nemo_automodel.components.models.kimi_k2.config import KimiK2Config" in made["text/model.py"]


def test_what_is_dropped_lies_where_memory_has_it(tmp_path):
    """Below a prefix of the disk, its name in memory; the base model's own names lack `model.`"""
    drop = "[{match: vision_tower.head.*, why: unused}, {match: mtp.*, why: drafts}]"
    made = model_files(planned(tmp_path, f"checkpoint: {{drop: {drop}}}\n").model)["model.py"]
    patterns = ast.literal_eval(re.search(r"_unexpected = (\[.*?\])\n", made, re.DOTALL)[1])
    assert "# vision_tower.head.*: unused; mtp.*: drafts" in made
    for name in ("model.vision_tower.head.weight", "vision_tower.head.weight", "mtp.layers.0.norm.weight"):
        assert any(re.search(pattern, name) for pattern in patterns), name
    for name in ("model.vision_tower.heads.weight", "model.language_model.mtp.weight"):
        assert not any(re.search(pattern, name) for pattern in patterns), name


def test_configs_of_a_head_that_the_text_ties(tmp_path):
    """In one the flags of the whole and of the text say the opposite of those in the other."""
    spec = planned(tmp_path, "head: {tie: config.text_config.tie_word_embeddings}\n")
    tests = {name: spec.contract.configs[name] for name in ("tied", "untied")}
    flags = {
        name: (one["tie_word_embeddings"], one["text_config"].get("tie_word_embeddings", False))
        for name, one in tests.items()
    }
    assert flags == {"tied": (False, True), "untied": (True, False)}
    assert "return self.config.text_config.tie_word_embeddings" in model_files(spec.model)["model.py"]


def test_heads_of_towers_with_other_fields(tmp_path):
    pairs = "text: qwen2\nprojector: none\ncheckpoint: {vision: {pairs: [attn.qkv]}}\n"
    made = model_files(planned(tmp_path, pairs, "qwen2_5_vl").model)["state_dict_adapter.py"]
    assert "return config.vision_config.hidden_size // config.vision_config.num_heads" in made


def test_several_specs_may_have_one_architecture_over_unlike_texts(tmp_path):
    plan = planned(tmp_path, "architecture: LlavaForConditionalGeneration\ntext: mistral\n", "llava_over_mistral").model
    assert (*plan.architectures, plan.text.model_class) == ("LlavaForConditionalGeneration", "MistralModel")
    assert plan.text.types == ("mistral",) and not plan.config.owned


def test_only_models_of_images_import_another_model_and_only_its_text():
    for path in SPECS:
        spec = read_any(path, ROOT) if of_images(path) else None
        expected = {spec.text_spec} if spec is not None and not spec.is_overlaid else set()
        folder = ROOT / "nemo_automodel/components/models" / path.stem
        found = {name for file in folder.rglob("*.py") for name in IMPORTED.findall(file.read_text())}
        assert found - {path.stem} == expected, path.stem


def test_a_spec_without_images_imports_nothing_of_images():
    code = (
        "import sys; from pathlib import Path; from codegen.generate import *\n"
        "plan_any(read_any(Path('specs/llama.yaml').absolute(), Path('.').absolute()))\n"
        "print([name for name in sys.modules if 'vision' in name or 'image_text' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []


def test_a_projector_of_transformers_gets_x_as_it_left_the_tower(tmp_path):
    text = "projector: {class: idefics2.Idefics2Connector, config: config.vision_config, inputs: {mask: image_sizes}}\n"
    plan = planned(tmp_path, text).model
    made = model_files(plan)["model.py"]
    assert plan.fields == ("pixel_values", "image_sizes")
    assert "from transformers.models.idefics2.modeling_idefics2 import Idefics2Connector" in made
    assert "self.multi_modal_projector = Idefics2Connector(config.vision_config)" in made
    assert re.search(r"return self.multi_modal_projector\(\s*of_layers\(.*mask=image_sizes,?\s*\)", made, re.DOTALL)
    assert "class LlavaProjector" not in made


def test_tiles_are_packed_behind_the_projector_whatever_it_does(tmp_path):
    text = """vision: {pixels: real_tiles(pixel_values)}
projector: x = pack_tiles(linear_1(merge_patches(x, 2)), newline, int(config.projector_hidden_act[2:]))
parts: {newline: {kind: parameter, out: 96}, linear_1: {out: 96}}
checkpoint: {names: {projector: model.connector, newline: line}}
"""
    plan = planned(tmp_path, text, "llava_next").model
    made = re.sub(r"\s+", " ", model_files(plan)["model.py"])
    assert plan.fields == ("pixel_values", "image_sizes", "batch_num_images")
    assert "self.newline = nn.Parameter(torch.empty(96))" in made
    assert "init.normal_(self.newline, std=len(self.newline) ** -0.5)" in made
    assert "self.connector(rows(x, grid), grid), self.newline, int(self.config.projector_hidden_act[2:])" in made
    assert ("model.line", "model.newline") in plan.disk.names
