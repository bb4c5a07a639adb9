"""Messages word by word: a folder per case with `spec.yaml` and what must be said of it.

To rewrite what is expected: UPDATE_GOLDEN=1 python -m pytest tests/codegen/spec/test_errors.py; then read the diff.
"""

import os
from pathlib import Path

import pytest

from codegen.errors import SpecError
from codegen.language.check import read_all, read_text

CASES = sorted((Path(__file__).parent / "errors").iterdir())
COMMAND = "UPDATE_GOLDEN=1 python -m pytest tests/codegen/spec/test_errors.py"


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_messages(folder: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_text((folder / "spec.yaml").read_bytes(), "specs/case.yaml")
    said = f"{caught.value}\n"
    expected = folder / "expected.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8"), f"if the new text is right: {COMMAND}"


def test_problems_stand_in_file_order_and_name_key_and_place() -> None:
    with pytest.raises(SpecError) as caught:
        read_text("name: llama\nmlp: {widht: 3}\nattention: {kind: gqaa}\n", "specs/foo.yaml")
    assert [str(problem) for problem in caught.value.problems] == [
        "specs/foo.yaml:2:7: mlp.widht: is not a key here; did you mean 'width'?",
        "specs/foo.yaml:3:19: attention.kind: 'gqaa' is not known; did you mean 'gqa'?",
    ]


def _write(folder: Path, **texts: str) -> list[Path]:
    paths = [folder / f"{name}.yaml" for name in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_all_files_report_at_once(tmp_path: Path) -> None:
    paths = _write(tmp_path, llama="name: llama\nmlp: {widht: 3}\n", gemma="name: gemma\nx: 1\n", qwen2="name: qwen2\n")
    with pytest.raises(SpecError) as caught:
        read_all(paths, tmp_path)
    assert [problem.location.file for problem in caught.value.problems] == ["gemma.yaml", "llama.yaml"]


def test_the_name_is_the_files(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="rename the file to llama.yaml, or write name: lama"):
        read_all(_write(tmp_path, lama="name: llama\n"), tmp_path)


def test_names_and_architectures_are_unique(tmp_path: Path) -> None:
    own = "config: transformers:LlamaConfig\narchitecture: "
    paths = _write(tmp_path, llama="name: llama\n", Llama=f"name: Llama\n{own}OtherForCausalLM\n")
    with pytest.raises(SpecError, match="'Llama' is also the name in llama.yaml"):
        read_all(paths, tmp_path)
    paths = _write(tmp_path, llama="name: llama\n", other=f"name: other\n{own}LlamaForCausalLM\n")
    with pytest.raises(SpecError, match="'LlamaForCausalLM' is also registered by llama.yaml"):
        read_all(paths, tmp_path)
