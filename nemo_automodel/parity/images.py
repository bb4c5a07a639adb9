"""Batches with images: pixels in the form that a family's fields ask for, and as many placeholders as they need.

How many rows an image makes is asked of the reference, so that placeholders do not follow from what is judged.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from nemo_automodel.parity.batches import FURTHER, PAD, Batch
from nemo_automodel.parity.pictures import Pictures, Tensors, pictures_of

TEXT = 6  # tokens before, between and after images


@dataclass(frozen=True)
class Images:
    """What batches of one family that takes images are drawn from."""

    reference: nn.Module
    pictures: Pictures
    token: int
    prefix: bool = False

    @classmethod
    def of(cls, reference: nn.Module, ours: Any) -> "Images":
        """`ours`: the generated base model, which says what its fields are called and which id is the placeholder."""
        known = inspect.signature(reference.forward).parameters
        fields = [name for name in ours.image_fields if name in known]
        return cls(reference, pictures_of(reference, fields), ours.image_token, bool(ours.token_fields))

    def batches(self, seed: int = 1) -> dict[str, Batch]:
        """`plain`: one text with two images; `short`: with one. `left`, `right`: three texts, of one image, of two, of
        none, padded on that side. `text`: the same without images."""
        texts = self._texts(seed)
        plain, several = [texts[1]], texts
        return {
            "plain": self._batch(plain, left=True),
            "short": self._batch(texts[:1], left=True),
            "left": self._batch(several, left=True),
            "right": self._batch(several, left=False),
            "text": self._batch([(ids[ids != self.token], []) for ids, _ in texts], left=True),
        }

    def typed(self, batch: Batch) -> Batch:
        """The same with types of tokens, as if its last words were an answer, where it has none."""
        if self.token_types(batch.ids).keys() & {"token_type_ids"}:
            return batch
        return replace(batch, images={**batch.images, "token_type_ids": _answer(batch.ids)})

    def further(self, name: str) -> Iterator[Batch]:
        """Like the one of that name, of other seeds."""
        return (self.batches(seed)[name] for seed in FURTHER)

    def several(self, rows: int, seeds: Iterable[int]) -> list[Batch]:
        """Batches of a text with images."""
        return [self.batches(seed)["plain"] for seed in seeds]

    def _texts(self, seed: int) -> list[tuple[torch.Tensor, list[Tensors]]]:
        images = self.pictures.drawn(3, seed)
        generator = torch.Generator().manual_seed(seed)
        return [self._text(of, generator) for of in (images[:1], images[1:], [])]

    def _text(self, images: list[Tensors], generator: torch.Generator) -> tuple[torch.Tensor, list[Tensors]]:
        """Ids [S] of a text in which images stand, each between words."""
        pieces = [self._words(generator)]
        for image in images:
            pieces += [torch.full((self.rows(image, len(images)),), self.token), self._words(generator)]
        return torch.cat([*pieces, self._words(generator)]), images

    def _words(self, generator: torch.Generator) -> torch.Tensor:
        """Ids [6]; those that mean something to processors are the last ones of a vocabulary here."""
        vocabulary = self.reference.config.get_text_config().vocab_size  # type: ignore[union-attr,operator]
        return torch.randint(3, vocabulary - 8, (TEXT,), generator=generator)

    @torch.no_grad()
    def rows(self, image: Tensors, count: int) -> int:
        """How many rows of features the reference makes of an image of a text that has so many."""
        return len(features(self.reference, self.pictures.together([[image] * count]))) // count

    def _batch(self, texts: Sequence[tuple[torch.Tensor, list[Tensors]]], *, left: bool) -> Batch:
        length = max(len(ids) for ids, _ in texts)
        mask = torch.stack([_placed(torch.ones_like(ids), length, left) for ids, _ in texts])
        ids = torch.stack([_placed(ids, length, left) for ids, _ in texts])
        before = torch.cat((mask[:, :1], mask[:, :-1]), dim=1)
        labels = ids.masked_fill((mask * before == 0) | (ids == self.token), -100)
        images = self.pictures.together([of for _, of in texts])
        padded = None if bool(mask.all()) else mask
        each = [self.pictures.together([of]) for _, of in texts]
        return Batch(ids, padded, labels, {**images, **self.token_types(ids)}, length - TEXT, each, [self.token])

    def token_types(self, ids: torch.Tensor) -> Tensors:
        """What the reference must be told, though the ids say it: it would be causal without a word."""
        known = inspect.signature(type(self.reference).forward).parameters
        is_image = (ids == self.token).long()
        if self.prefix:
            return {"token_type_ids": _answer(ids)}
        return {name: is_image for name in ("token_type_ids", "mm_token_type_ids") if name in known}


def _answer(ids: torch.Tensor) -> torch.Tensor:
    """[B, S]: 1 for the last words, 0 before them."""
    return (torch.arange(ids.shape[1]) >= ids.shape[1] - TEXT).long().expand_as(ids)


def _placed(ids: torch.Tensor, length: int, left: bool) -> torch.Tensor:
    pad = length - len(ids)
    return nn.functional.pad(ids, (pad, 0) if left else (0, pad), value=PAD)


def features(model: Any, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Rows [T, H] of the images, one image after the other. Some references are told the layer (Aria's takes the last
    one by itself, whatever its config says)."""
    holder = model if hasattr(model, "get_image_features") else model.base_model
    known, layer = inspect.signature(holder.get_image_features).parameters, "vision_feature_layer"
    said = {layer: getattr(model.config, layer)} if layer in known else {}
    found = holder.get_image_features(**images, **said)
    found = getattr(found, "pooler_output", found)
    parts = [found] if isinstance(found, torch.Tensor) else list(found)
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
