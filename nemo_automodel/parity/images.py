"""Batches with images: pixels in the form that a family's fields ask for, and as many placeholders as they need.

How many rows an image makes is asked of the reference, so that placeholders do not follow from what is judged.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nemo_automodel.parity.batches import FURTHER, PAD, Batch

SIDES = ((2, 3), (4, 2), (3, 3), (2, 5))  # heights and widths of images, in units of merged patches
TEXT = 6  # tokens before, between and after images
MERGES = "image_merge_sizes"
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pictures:
    """How a family's processor hands over images: the fields by name, and the sizes that the pixels' form depends on.

    fields: what the model calls them, pixels first. patch: pixels of a patch; unit: patches that become one row, in one
    direction; packed: the shape of a patch in fields of patches one after the other; side: of a picture, where all
    have one size, else 0.
    """

    fields: tuple[str, ...]
    patch: int
    unit: int
    packed: tuple[int, ...]
    channels: int
    side: int

    @classmethod
    def of(cls, reference: nn.Module, fields: Sequence[str]) -> "Pictures":
        """What the reference's config and its first convolution tell."""
        config: Any = reference.config
        vision = config.vision_config
        patch = first_of(vision, "patch_size")
        unit = next((n for c in (config, vision) if (n := getattr(c, "spatial_merge_size", None))), None)
        unit = unit or next(iter(getattr(vision, "merge_kernel_size", ())), 2 if MERGES in fields else 1)
        convolutions = (module for module in reference.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
        first = next(convolutions, None)  # none in towers that unfold pixels
        shape = (vision.num_channels, patch, patch) if first is None else tuple(first.weight.shape[1:])
        packed = (int(torch.tensor(shape).prod()),) if isinstance(first, nn.Conv3d) else shape
        own_sizes = any(name in fields for name in ("image_sizes", "image_grid_thw", "image_grid_hws"))
        side = 0 if own_sizes else first_of(vision, "image_size")
        return cls(tuple(fields), patch, unit, packed, shape[0], side)

    def drawn(self, count: int, seed: int) -> list[Tensors]:
        """So many images, each by itself: its fields with one image."""
        generator = torch.Generator().manual_seed(seed)
        sides = [SIDES[(seed + number) % len(SIDES)] for number in range(count)]
        return [self._one(height * self.unit, width * self.unit, generator) for height, width in sides]

    def _one(self, height: int, width: int, generator: torch.Generator) -> Tensors:
        if self.side:
            height = width = self.side // self.patch
        if "image_grid_thw" in self.fields or "image_grid_hws" in self.fields:
            pixels = torch.randn(height * width, *self.packed, generator=generator)
            sizes = {"image_grid_thw": (1, height, width), "image_grid_hws": (height, width), MERGES: self.unit}
        else:
            pixels = torch.randn(1, self.channels, height * self.patch, width * self.patch, generator=generator)
            sizes = {"image_sizes": (height * self.patch, width * self.patch)}
        found = {name: torch.tensor([size]) for name, size in sizes.items() if name in self.fields}
        return {self.fields[0]: pixels, **found}

    def together(self, images: Sequence[Tensors]) -> Tensors:
        """The fields of several images; pictures of several sizes are padded with zeros."""
        if not images:
            return {}
        pixels = [image[self.fields[0]] for image in images]
        joined = {name: torch.cat([image[name] for image in images]) for name in images[0] if name != self.fields[0]}
        packed = "image_sizes" not in self.fields
        return {self.fields[0]: torch.cat(pixels if packed else _padded(pixels)), **joined}


def _padded(pixels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    height, width = (max(one.shape[dim] for one in pixels) for dim in (-2, -1))
    return [nn.functional.pad(one, (0, width - one.shape[-1], 0, height - one.shape[-2])) for one in pixels]


def first_of(config: Any, name: str) -> int:
    """A size that may be given for each direction."""
    value = getattr(config, name)
    return int(value if isinstance(value, int) else value[0])


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
        return cls(reference, Pictures.of(reference, ours.image_fields), ours.image_token, bool(ours.token_fields))

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
            pieces += [torch.full((self.rows(image),), self.token), self._words(generator)]
        return torch.cat([*pieces, self._words(generator)]), images

    def _words(self, generator: torch.Generator) -> torch.Tensor:
        """Ids [6]; those that mean something to processors are the last ones of a vocabulary here."""
        vocabulary = self.reference.config.get_text_config().vocab_size  # type: ignore[union-attr,operator]
        return torch.randint(3, vocabulary - 8, (TEXT,), generator=generator)

    @torch.no_grad()
    def rows(self, image: Mapping[str, torch.Tensor]) -> int:
        """How many rows of features the reference makes of one image."""
        return len(features(self.reference, image))

    def _batch(self, texts: Sequence[tuple[torch.Tensor, list[Tensors]]], *, left: bool) -> Batch:
        length = max(len(ids) for ids, _ in texts)
        mask = torch.stack([_placed(torch.ones_like(ids), length, left) for ids, _ in texts])
        ids = torch.stack([_placed(ids, length, left) for ids, _ in texts])
        before = torch.cat((mask[:, :1], mask[:, :-1]), dim=1)
        labels = ids.masked_fill((mask * before == 0) | (ids == self.token), -100)
        images = self.pictures.together([image for _, of in texts for image in of])
        padded = None if bool(mask.all()) else mask
        each = [self.pictures.together(of) for _, of in texts]
        return Batch(ids, padded, labels, {**images, **self._token_types(ids)}, length - TEXT, each, [self.token])

    def _token_types(self, ids: torch.Tensor) -> Tensors:
        """What the reference must be told, though the ids say it: it would be causal without a word."""
        known = inspect.signature(type(self.reference).forward).parameters
        is_image = (ids == self.token).long()
        if self.prefix:
            return {"token_type_ids": (torch.arange(ids.shape[1]) >= ids.shape[1] - TEXT).long().expand_as(ids)}
        return {name: is_image for name in ("token_type_ids", "mm_token_type_ids") if name in known}


def _placed(ids: torch.Tensor, length: int, left: bool) -> torch.Tensor:
    pad = length - len(ids)
    return nn.functional.pad(ids, (pad, 0) if left else (0, pad), value=PAD)


def features(model: Any, images: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Rows [T, H] of the images, one image after the other."""
    found = model.get_image_features(**images)
    found = getattr(found, "pooler_output", found)
    parts = [found] if isinstance(found, torch.Tensor) else list(found)
    return torch.cat([part.reshape(-1, part.shape[-1]) for part in parts])
