"""Memory that was freed and kept by the C library is the system's again."""

import ctypes
import sys
from pathlib import Path

import psutil
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from nemo_automodel.recipes.heap import HeapCallback

SIZE, COUNT = 15_000, 1500  # floats of a tensor that lies in the heap; 90 MB


def resident() -> int:
    """Bytes."""
    return psutil.Process().memory_info().rss


def test_what_was_freed_is_given_back_once(tmp_path: Path) -> None:
    callback = HeapCallback()
    asked = TrainingArguments(tmp_path, use_cpu=True), TrainerState(), TrainerControl()
    given = []
    for _ in range(2):
        tensors = [torch.ones(SIZE) for _ in range(COUNT)]
        kept = tensors[::100]  # so that the end of the heap is not free
        del tensors
        before = resident()
        callback.on_pre_optimizer_step(*asked)
        given.append(before - resident())
        assert len(kept) == COUNT // 100
    assert given[1] < SIZE * COUNT * 4 / 10
    if sys.platform == "linux" and hasattr(
        ctypes.CDLL(None), "malloc_trim"
    ):  # elsewhere it is a call that does nothing
        assert given[0] > SIZE * COUNT * 4 * 0.7
