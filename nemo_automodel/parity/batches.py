"""Inputs on which implementations are compared."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

PAD = 0
LENGTH, SHORT = 24, 11  # longer and shorter than the position tables that a tiny config declares
PREFIX = 9  # positions that a cache holds before the others come one by one
FURTHER = range(2, 26)  # seeds: rounding has a long tail, of which a median of 3e-6 and a largest of 7e-5 were seen


@dataclass(frozen=True)
class Batch:
    """ids [B, S]; mask [B, S] or None (nothing is padded); labels [B, S] with -100 where padded; images: what a
    processor gives beside them, by name; prefix: how many positions a cache holds before the others come one by one;
    each: the images of each text; unsaid: tokens that no model may write, since images would have to come with them."""

    ids: torch.Tensor
    mask: torch.Tensor | None
    labels: torch.Tensor
    images: Mapping[str, torch.Tensor] = field(default_factory=dict)
    prefix: int = PREFIX
    each: Sequence[Mapping[str, torch.Tensor]] = ()
    unsaid: Sequence[int] = ()

    @property
    def content(self) -> Hashable:
        """What tells it from another batch: names, shapes and numbers of all that it gives."""
        given = {**self.inputs, "labels": self.labels}
        return tuple((name, one.shape, one.numpy().tobytes()) for name, one in given.items() if one is not None)

    @property
    def inputs(self) -> dict[str, Any]:
        """Keywords of a model's forward, but labels."""
        return {"input_ids": self.ids, "attention_mask": self.mask, **self.images}

    @property
    def real(self) -> torch.Tensor:
        """Which positions [B, S] hold tokens."""
        return torch.ones_like(self.ids, dtype=torch.bool) if self.mask is None else self.mask.bool()

    @property
    def positions(self) -> torch.Tensor:
        """[B, S]: each text counted from its own start; 0 before it."""
        return (self.real.long().cumsum(-1) - 1).clamp(min=0)

    @property
    def given_positions(self) -> torch.Tensor | None:
        """`positions` where texts are padded, for models that would count padding; with images models count."""
        return None if self.mask is None or self.images else self.positions

    def images_until(self, end: int) -> dict[str, torch.Tensor]:
        """What is given beside the first ids: images, and what is said of each id."""
        shape = self.ids.shape
        return {name: value[:, :end] if value.shape == shape else value for name, value in self.images.items()}

    def alone(self) -> list["Batch"]:
        """Each text by itself [1, S], without its padding."""
        said = {name: value for name, value in self.images.items() if value.shape == self.ids.shape}
        return [
            Batch(
                self.ids[row][real][None],
                None,
                self.labels[row][real][None],
                {**(self.each[row] if self.each else {}), **{name: of[row][real][None] for name, of in said.items()}},
                unsaid=self.unsaid,
            )
            for row, real in enumerate(self.real)
        ]


@dataclass(frozen=True)
class Texts:
    """What batches of a language model are drawn from."""

    vocabulary: int

    def batches(self, seed: int = 1) -> dict[str, Batch]:
        return batches(self.vocabulary, seed)

    def further(self, name: str) -> Iterator[Batch]:
        return further(self.vocabulary, name)

    def several(self, rows: int, seeds: Iterable[int]) -> list[Batch]:
        """Batches of so many texts without padding."""
        return [drawn(self.vocabulary, rows, seed) for seed in seeds]


def drawn(vocabulary: int, rows: int, seed: int) -> Batch:
    """[rows, 24] without padding."""
    ids = torch.randint(3, vocabulary, (rows, LENGTH), generator=torch.Generator().manual_seed(seed))
    return Batch(ids, None, ids)


def batches(vocabulary: int, seed: int = 1) -> dict[str, Batch]:
    """`plain` [2, 24], `short` [2, 11], and `left` and `right`: [3, 24] of which two rows are padded on that side."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(rows: int, length: int) -> torch.Tensor:
        ids = torch.randint(3, vocabulary, (rows, length), generator=generator)
        ids[0, 3] = PAD  # inside a text: some families give its row a gradient, some do not
        return ids

    plain, short, padded = tokens(2, LENGTH), tokens(2, SHORT), tokens(3, LENGTH)
    return {
        "plain": Batch(plain, None, plain),
        "short": Batch(short, None, short),
        "left": _padded(padded, (0, 5, 17), left=True),
        "right": _padded(padded, (0, 5, 17), left=False),
    }


def further(vocabulary: int, name: str) -> Iterator[Batch]:
    """Like the one of that name, of other seeds, each drawn when it is asked for: what happens by chance is
    measured on them, which is seldom asked."""
    return (batches(vocabulary, seed)[name] for seed in FURTHER)


def _padded(ids: torch.Tensor, pads: tuple[int, ...], *, left: bool) -> Batch:
    places = torch.arange(ids.shape[1])
    count = torch.tensor(pads)[:, None]
    mask = (places >= count if left else places < ids.shape[1] - count).long()
    before = torch.cat((mask[:, :1], mask[:, :-1]), dim=1)  # what padding would predict is no label either
    return Batch(ids.masked_fill(mask == 0, PAD), mask, ids.masked_fill(mask * before == 0, -100))
