"""Names that would shadow what generated classes, their bases or their modules use are refused at their place."""

import ast
import json
import re
from pathlib import Path

import pytest

from codegen.errors import SpecError
from codegen.language.check import read_text
from codegen.language.reserved import PACKAGES, TABLE, reserved
from nemo_automodel.parity.reserved_names import table

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "nemo_automodel/components/models"
HOLDERS = {"DecoderModel": "model", "MoEDecoderModel": "model", "CausalLM": "head", "MoECausalLM": "head"}
HOLDERS |= {"DecoderLayer": "layer", "Attention": "attention", "CombinedQKVAttentionMixin": "attention"}
HOLDERS |= {"CombinedGateUpMLP": "mlp"}


def said(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read_text(text, "s.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_list_holds_what_the_live_classes_use() -> None:
    known = json.loads(TABLE.read_text(encoding="ascii"))
    missing = {holder: sorted({*names} - {*known[holder]}) for holder, names in table().items()}
    assert not any(missing.values()), f"{missing}: run python -m nemo_automodel.parity.reserved_names"


def test_packages_of_the_library_are_known() -> None:
    generated = {path.stem for path in (ROOT / "specs").glob("*.yaml")}
    folders = {path.name for path in MODELS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - generated == {*PACKAGES}


def is_counted(name: str) -> bool:
    """Numbers of which there may be any: held by a rule, not by a list."""
    return re.fullmatch(r"[a-z]+_multiplier|factor_\d+", name) is not None


def test_numbers_and_flags_of_generated_classes_are_reserved() -> None:
    """What the plan adds to a class beside the modules that the spec names."""
    seen = 0
    for file in MODELS.glob("*/model.py"):
        for cls in ast.parse(file.read_text(encoding="utf-8")).body:
            bases = [ast.unparse(base) for base in cls.bases] if isinstance(cls, ast.ClassDef) else []
            holder = next((HOLDERS[base] for base in bases if base in HOLDERS), None)
            for name, value in _assigned(cls) if holder is not None else ():
                layer_number = holder == "layer" and (
                    value.startswith("config.") or value.endswith("(config, layer_idx, backend)")
                )
                if not re.search(r"\b[A-Z]\w+\)?\(", value) and not layer_number and not is_counted(name):
                    assert name in reserved(str(holder)), f"{file}: {name} = {value}"
                    seen += 1
    assert seen > 100


def _assigned(cls: ast.AST) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for node in ast.walk(cls):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            for one in target.elts if isinstance(target, ast.Tuple) else (target,):
                if isinstance(one, ast.Attribute) and isinstance(node, ast.Assign):
                    found.append((one.attr, ast.unparse(node.value)))
    return found


LLAMA = "name: llama\n"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("checkpoint: {names: {out: forward}}", "s.yaml:2:27: checkpoint.names.out: 'forward' is used by"),
        ("checkpoint: {names: {q: k_proj}}", "s.yaml:2:25: checkpoint.names.q: 'k_proj' is the name of k too"),
        ("checkpoint: {names: {q: a.b, k: a.b}}", "s.yaml:2:33: checkpoint.names.k: 'a.b' is the name of q too"),
        ("checkpoint: {names: {q: a, k: a.b}}", "s.yaml:2:31: checkpoint.names.k: 'a.b' is the name of q too"),
        ("checkpoint: {names: {up: gate_proj}}", "s.yaml:2:26: checkpoint.names.up: 'gate_proj' is the name of gate"),
        ("checkpoint: {memory: {q: [a, b]}}", "s.yaml:2:26: checkpoint.memory.q: needs as many paths as on disk, 1;"),
        ("checkpoint: {names: {layers: config}}", "s.yaml:2:30: checkpoint.names.layers: 'config' is used by"),
        ("checkpoint: {names: {model: generate}}", "s.yaml:2:29: checkpoint.names.model: 'generate' is used by"),
        ("checkpoint: {names: {mlp: self_attn}}", "s.yaml:2:27: checkpoint.names.mlp: 'self_attn' is the name of"),
        ("checkpoint: {names: {down: __init__}}", "s.yaml:2:28: checkpoint.names.down: '__init__'"),
        ("checkpoint: {fused: {scale: [q, k, v]}}", "s.yaml:2:29: checkpoint.fused.scale: 'scale' is used by"),
        ("attention: {inner_norm: forward}", "s.yaml:2:25: attention.inner_norm: 'forward' is used by"),
        ("attention: {inner_norm: o_proj}", "s.yaml:2:25: attention.inner_norm: 'o_proj' is the name of out too"),
        ("attention: {inner_norm: config.hidden_act}", "s.yaml:2:25: attention.inner_norm: 'config.hidden_act' is no"),
        ('mlp: {inner_norm: "1"}', "s.yaml:2:19: mlp.inner_norm: '1' is no name"),
        ("block: [x = x + attention(n(x)), x = x + mlp(training(x))]", "s.yaml:2:34: block.1: 'training' is used by"),
        ("block: [x = x + attention(self_attn(x)), x = x + mlp(n(x))]", "s.yaml:2:9: block.0: 'self_attn' is the"),
        ("block: [x = x + attention(a.norm(x)), x = x + mlp(a(x))]", "s.yaml:2:39: block.1: 'a' is the name of"),
        ("block: [self = norm(x), x = x + attention(self) + mlp(x)]", "s.yaml:2:9: block.0: 'self' cannot be bound"),
        ("input: [nn = embed_tokens(ids), x = nn]", "s.yaml:2:9: input.0: 'nn' cannot be bound"),
        ("output: logits = lm_head(embed_tokens(x))", "s.yaml:2:9: output.0: 'embed_tokens' is the name of what input"),
        ("architecture: super", "s.yaml:2:15: architecture: the generated class 'super' would"),
        ("architecture: CausalLM", "s.yaml:2:15: architecture: the generated class 'CausalLM' would"),
        ("architecture: DecoderForCausalLM", "s.yaml:2:15: architecture: the generated class 'DecoderModel' would"),
        ("architecture: LlamaConfig", "s.yaml:2:15: architecture: the generated class 'LlamaConfig' would"),
    ],
)
def test_refused_at_its_place(text: str, start: str) -> None:
    assert said(LLAMA + text)[0].startswith(start)


FALCON_MAMBA = (
    "name: falcon_mamba\nblock: x = x + attention(norm(x))\nattention: {kind: mamba1, inner_norms: {names: %s}}\n"
)


@pytest.mark.parametrize(
    ("names", "end"),
    [
        ("[a, b]", "3:48: attention.inner_norms.names: needs three names; write those of the norms of dt, B, C"),
        ("[a b, c, d]", "3:49: attention.inner_norms.names.0: 'a b' is no path on disk; write names joined by dots"),
        ("[a, b, a]", "3:55: attention.inner_norms.names.2: 'a' is the name of inner norm 0 too"),
        ("[a, x_proj, b]", "3:52: attention.inner_norms.names.1: 'x_proj' is the name of x_proj too"),
        ("[a, D, b]", "3:52: attention.inner_norms.names.1: 'D' is the name of D too"),
    ],
)
def test_norms_within_a_mixer_have_names_of_their_own(names: str, end: str) -> None:
    assert any(one.startswith(f"s.yaml:{end}") for one in said(FALCON_MAMBA % names))


def test_declared_configs_and_packages() -> None:
    base = "architecture: RndForCausalLM\nconfig: {model_type: rnd, class: %s, fields: {%shidden_size: 100}}\n"
    taken = said("name: rnd\n" + base % ("PreTrainedConfig", ""))
    assert taken[0].startswith("s.yaml:3:34: config.class: the generated class 'PreTrainedConfig' would")
    method = said("name: rnd\n" + base % ("RndConfig", "to_dict: 1, "))
    assert method[0].startswith("s.yaml:3:54: config.fields.to_dict: is a method of every config class")
    assert said("name: common\n" + base % ("RndConfig", ""))[0].startswith("s.yaml:1:7: name: 'common' is a package")
