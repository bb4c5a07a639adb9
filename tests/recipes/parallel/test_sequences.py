"""Pieces of a batch: together they are the batch, and what cannot be cut is refused."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nemo_automodel.recipes.parallel.sequences import IGNORED, piece


def mesh(size: int, rank: int) -> Any:
    return SimpleNamespace(size=lambda: size, get_local_rank=lambda: rank)


@given(st.integers(1, 20), st.integers(1, 5))
def test_pieces_are_the_batch_with_labels_shifted_before(length: int, size: int) -> None:
    ids = torch.randint(1, 50, (2, length))
    pieces = [piece({"input_ids": ids, "labels": ids}, mesh(size, rank)) for rank in range(size)]
    whole = {name: torch.cat([one[name] for one in pieces], dim=1) for name in pieces[0]}
    assert len({one["input_ids"].shape for one in pieces}) == 1
    assert whole["input_ids"][:, :length].equal(ids) and not whole["input_ids"][:, length:].any()
    assert whole["position_ids"][0].equal(torch.arange(whole["input_ids"].shape[1]))
    assert whole["shift_labels"][:, : length - 1].equal(ids[:, 1:])
    assert (whole["shift_labels"][:, length - 1 :] == IGNORED).all()


@pytest.mark.parametrize(
    "more, said",
    [
        ({"position_ids": torch.zeros(1, 4)}, "batches with position_ids cannot be cut"),
        ({"attention_mask": torch.tensor([[0, 1, 1, 1]])}, "padded on the right"),
    ],
)
def test_what_cannot_be_cut(more: dict[str, Any], said: str) -> None:
    ids = torch.ones(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=f"parallel.cp: .*{said}"):
        piece({"input_ids": ids, "labels": ids, **more}, mesh(2, 0))
    right = torch.tensor([[1, 1, 0, 0]])
    assert "attention_mask" not in piece({"input_ids": ids, "labels": ids, "attention_mask": right}, mesh(2, 0))
