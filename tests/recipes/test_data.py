"""Text becomes equal blocks of tokens; mistakes in a file are named by line."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from nemo_automodel.recipes.data import MockDataset, TextDataset


def test_documents_are_joined_and_cut(tmp_path: Path, checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    documents = ["w1 w2 w3", "w4 w5"]
    lines = tmp_path / "data.jsonl"
    lines.write_text("\n".join(json.dumps({"body": document}) for document in documents))
    text = tmp_path / "data.txt"
    text.write_text("\n".join(documents))
    for dataset in (TextDataset(str(lines), tokenizer, 3, column="body"), TextDataset(str(text), tokenizer, 3)):
        blocks = [tokenizer.convert_ids_to_tokens(item["input_ids"].tolist()) for item in dataset]
        assert blocks == [["w1", "w2", "w3"], ["<eos>", "w4", "w5"]]
        assert dataset[1]["labels"].tolist() == dataset[1]["input_ids"].tolist()


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "data.jsonl:2: not JSON"), ('{"other": 1}', "data.jsonl:2: expected an object with the text in 'text'")],
)
def test_a_bad_line_is_named(tmp_path: Path, checkpoint: Path, line: str, message: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "w1"}\n' + line)
    with pytest.raises(ValueError, match=message):
        TextDataset(str(path), AutoTokenizer.from_pretrained(checkpoint), 2)


def test_too_little_text_is_an_error(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text("w1 w2")
    with pytest.raises(ValueError, match="3 tokens do not fill one block of sequence_length 8"):
        TextDataset(str(path), AutoTokenizer.from_pretrained(checkpoint), 8)


def test_mock_data_are_reproducible_and_within_the_vocabulary() -> None:
    first, second, other = (MockDataset(7, 5, 11, seed=seed).blocks for seed in (1, 1, 2))
    assert first.equal(second) and not first.equal(other)
    assert first.shape == (5, 11) and first.min() >= 0 and first.max() < 7
