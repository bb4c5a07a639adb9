"""What stands in the tree: that it is what the specs say, and reads as generated code should."""

import ast
import difflib
import re
import subprocess
import sys
from pathlib import Path

import black
import pytest

from codegen.configs import ConfigTable
from codegen.generate import read_any
from codegen.language.check import of_images, read_spec, read_text
from codegen.language.loaded import config_class
from codegen.plan.model import build
from codegen.plan.vision.model import build_image_text
from codegen.render.files import model_files
from codegen.render.image_text import model_files as image_text_files

MODE = black.Mode(line_length=120, target_versions={black.TargetVersion.PY311})
ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
MODELS = ROOT / "nemo_automodel/components/models"
GENERATED = [path for spec in SPECS for path in sorted((MODELS / spec.stem).rglob("*.py"))]
GENERATED += [path for spec in SPECS for path in sorted((ROOT / "tests/unit_tests/models" / spec.stem).glob("*.py"))]
# What layers of one model, and configs of one family, do both ways.
BOTH_WAYS = ("self.rotary", "self.q_rank is None")


def relative(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", GENERATED, ids=relative)
def test_a_generated_file_is_a_fixpoint_of_black(path):
    text = path.read_text()
    assert black.format_str(text, mode=MODE) == text


def test_ruff_finds_nothing_in_generated_files():
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", *map(relative, GENERATED)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_spec_and_model_are_short(spec):
    assert len(spec.read_text().splitlines()) <= 30
    text = (MODELS / spec.stem / "model.py").read_text()
    layers = len(re.findall(r"^class \w+DecoderLayer\(", text, re.MULTILINE))
    assert len(text.splitlines()) <= 200 + 20 * layers


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_a_model_asks_the_config_for_no_default_and_has_short_functions(spec):
    tree = ast.parse((MODELS / spec.stem / "model.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in ("getattr", "hasattr")]
    lengths = {node.name: node.end_lineno - node.lineno for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert max(lengths.values()) < 40, lengths


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_a_model_has_no_dead_branch(spec):
    """Every question that the code asks is one about the config, the layer, or an attribute that depends on them."""
    tree = ast.parse((MODELS / spec.stem / "model.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp):
            assert any(isinstance(child, ast.Attribute | ast.Name) for child in ast.walk(node.test)), ast.unparse(node)
        assert not isinstance(node, ast.If) or ast.unparse(node.test) in BOTH_WAYS, ast.unparse(node)


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_names_and_docstrings_tell_classes_apart(spec):
    body = ast.parse((MODELS / spec.stem / "model.py").read_text()).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    for told in ([ast.get_docstring(node) for node in classes], [re.sub(r"\d", "", node.name) for node in classes]):
        assert len(set(told)) == len(told), told


def model_of(text, name="llama"):
    spec = read_text(text, f"specs/{name}.yaml")
    return model_files(build(spec, config_class(spec, ConfigTable())))["model.py"]


LLAMA = "name: llama\nsummary: The same.\n"


@pytest.mark.parametrize(
    "line",
    [
        "attention: {scale: config.head_dim ** -1}",
        "attention: {window: 7}",
        "mlp: {width: 3 * config.hidden_size}",
        "mlp: {activation: relu}",
        "rope: {width: config.head_dim // 2}",
        "embedding: {padding_idx: none}",
        "head: {bias: true}",
        "block: [x = x + attention(input_layernorm(x)), x = mlp(post_attention_layernorm(x)) + x]",
        "output: logits = lm_head(norm(x)) * 2.0",
    ],
)
def test_one_changed_line_of_a_spec_changes_one_hunk_of_the_model(line):
    before, after = model_of(LLAMA), model_of(LLAMA + line + "\n")
    hunks = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm=""))
    assert sum(text.startswith("@@") for text in hunks) == 1, "\n".join(hunks)


def files_of(spec):
    """What the package of a spec holds."""
    if of_images(spec):
        return image_text_files(build_image_text(read_any(spec, ROOT)))
    loaded = read_spec(spec, ROOT)
    return model_files(build(loaded, config_class(loaded, ConfigTable())))


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.stem)
def test_the_tree_holds_what_the_spec_says(spec):
    for name, text in files_of(spec).items():
        written = (MODELS / spec.stem / name).read_text()
        assert written.split("\n", 2)[2] == text, f"{spec.stem}/{name}: run codegen apply"
