"""The committed specs: they load and check, the framed ones are short and have templates, and schemas accept them."""

import re
from pathlib import Path

import pytest

from codegen.language.check import read_all, read_text, specs_of_text
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import READY_KINDS

ROOT = Path(__file__).parents[3]
FRAMED = specs_of_text(ROOT / "specs")


@pytest.fixture(scope="module")
def loaded() -> dict[str, LoadedSpec]:
    return {spec.name: spec for spec in read_all(FRAMED, ROOT)}


def test_all_specs_load(loaded: dict[str, LoadedSpec]) -> None:
    assert len(loaded) == len(FRAMED) >= 108
    assert {"modernbert_decoder", "openai_gpt", "emu3_text", "falcon", "kimi_linear"} <= loaded.keys()


@pytest.mark.parametrize("path", FRAMED, ids=lambda path: path.stem)
def test_framed_specs(path: Path, loaded: dict[str, LoadedSpec]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30 and max(map(len, lines)) <= 130
    assert lines[0] == "# yaml-language-server: $schema=spec.schema.json"
    spec = loaded[path.stem]
    assert spec.unready == () and spec.docs["hub"] and spec.path == f"specs/{path.name}"
    assert any(line.startswith("summary: ") for line in lines)


def test_every_spec_has_a_sentence_about_it(loaded: dict[str, LoadedSpec]) -> None:
    for spec in loaded.values():
        assert spec.summary.endswith(".") and "\n" not in spec.summary, spec.name
    text = (ROOT / "specs/modernbert_decoder.yaml").read_text(encoding="utf-8")
    unsaid = read_text(re.sub("(?m)^summary: .*\n", "", text), "specs/modernbert_decoder.yaml")
    assert unsaid.summary == "Decoder with attention, gated MLP and layernorm; sliding windows."


def test_what_has_no_template_is_said(loaded: dict[str, LoadedSpec]) -> None:
    """Whoever uses a kind without a template is reported as such, and nobody else for that kind."""
    assert loaded["glm"].unready == ()
    for kind, name in (("attention.kind: mamba2", "bamba"), ("mlp.kind: moe", "mixtral")):
        slot, _, word = kind.partition(".kind: ")
        assert (kind in loaded[name].unready) == (word not in READY_KINDS[slot])


def test_baichuan_decides_by_what_its_files_hold(loaded: dict[str, LoadedSpec]) -> None:
    spec = loaded["baichuan"]
    assert spec.architectures == ("BaichuanForCausalLM", "BaiChuanForCausalLM")
    (split,) = spec.splits
    assert split.condition.text == "config.max_position_embeddings is None" and split.why
    assert spec.flat[(True,)].rope is None and spec.flat[(True,)].attention.alibi is not None
    assert spec.flat[(False,)].rope.theta.text == "10000.0" and spec.flat[(False,)].attention.alibi is None
