"""Data sets of text for the recipes.

An item is `{"input_ids": int64 [S], "labels": int64 [S]}`, with equal ids: the model shifts the labels.
"""

import json
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

TOGETHER = 64  # documents that a tokenizer is given at once


class TextDataset(Dataset[dict[str, Tensor]]):
    """A text file (one document a line) or a JSON-lines file, tokenised, concatenated and cut into equal blocks.

    Documents are separated by the tokenizer's end-of-sequence token. What does not fill the last block is left out.

    Raises:
        ValueError: a line is no JSON object with the column, or the file does not fill one block.
    """

    takes_images = False

    def __init__(self, path: str, tokenizer: Any, sequence_length: int, column: str = "text") -> None:
        if sequence_length < 1:
            raise ValueError(f"sequence_length is 1 or more, got {sequence_length}")
        ids, end = array("q"), [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        documents = _documents(Path(path), column)
        while some := list(islice(documents, TOGETHER)):
            for found in tokenizer(some, add_special_tokens=False)["input_ids"]:
                ids.extend(found + end)
        blocks = len(ids) // sequence_length
        if blocks == 0:
            raise ValueError(f"{path}: {len(ids)} tokens do not fill one block of sequence_length {sequence_length}")
        self.blocks = torch.frombuffer(ids, dtype=torch.int64, count=blocks * sequence_length).view(blocks, -1)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.blocks[index], "labels": self.blocks[index]}


class MockDataset(Dataset[dict[str, Tensor]]):
    """Counting sequences with random starts and steps: learnable within a few steps, and nothing to download.

    Raises:
        ValueError: there would be no sequences, or empty ones.
    """

    takes_images = False

    def __init__(self, vocab_size: int, samples: int, sequence_length: int, seed: int = 0) -> None:
        if samples < 1 or sequence_length < 1:
            raise ValueError(f"samples and sequence_length are 1 or more, got {samples} and {sequence_length}")
        generator = torch.Generator().manual_seed(seed)
        starts = torch.randint(vocab_size, (samples, 1), generator=generator)
        steps = torch.randint(1, 4, (samples, 1), generator=generator)
        self.blocks = (starts + steps * torch.arange(sequence_length)) % vocab_size

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"input_ids": self.blocks[index], "labels": self.blocks[index]}


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(`path:line`, what stands in it), of lines that are not empty. Raises ValueError for what is no JSON."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{path}:{number}"
            if line.strip():
                try:
                    yield where, json.loads(line)
                except json.JSONDecodeError as error:
                    raise ValueError(f"{where}: not JSON: {error}") from error


def _documents(path: Path, column: str) -> Iterator[str]:
    if path.suffix == ".jsonl":
        yield from (_text(row, column, where) for where, row in json_rows(path))
        return
    with path.open(encoding="utf-8") as lines:
        yield from (line.rstrip("\n") for line in lines if line.strip())


def _text(row: Any, column: str, where: str) -> str:
    if not isinstance(row, dict) or not isinstance(row.get(column), str):
        raise ValueError(f"{where}: expected an object with the text in '{column}'; name another column with `column`")
    return row[column]
