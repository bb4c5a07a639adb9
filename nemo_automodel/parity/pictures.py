"""Images in the form in which a family's processor hands them over: whole pictures, patches in a row, masked, by text.

Which form it is, the names of a model's fields tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

SIDES = ((2, 3), (4, 2), (3, 3), (2, 5))  # heights and widths of images, in units of merged patches
GRIDS = ("image_grid_thw", "image_grid_hws")
SIZES, MERGES, COUNTS = "image_sizes", "image_merge_sizes", "batch_num_images"
MASKS = ("pixel_mask", "pixel_attention_mask")  # of pixels that are real: of each image, or of each text's images
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pictures:
    """Pictures of one size [I, C, H, W].

    fields: what the model calls them, pixels first. patch: pixels of a patch; unit: patches that become one row, in one
    direction; shape: of a patch, channels first, as the tower takes it; side: of a picture, in pixels.
    """

    fields: tuple[str, ...]
    patch: int
    unit: int
    shape: tuple[int, ...]
    side: int

    def drawn(self, count: int, seed: int) -> list[Tensors]:
        """So many images, each as the one of a text: its fields."""
        generator = torch.Generator().manual_seed(seed)
        sides = [SIDES[(seed + number) % len(SIDES)] for number in range(count)]
        return [self.one(height * self.unit, width * self.unit, generator) for height, width in sides]

    def one(self, height: int, width: int, generator: torch.Generator) -> Tensors:
        """An image of so many patches, as far as the form lets it choose."""
        return {self.fields[0]: self._noise(self.side, self.side, generator)}

    def _noise(self, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(1, self.shape[0], height, width, generator=generator)

    def together(self, texts: Sequence[Sequence[Tensors]]) -> Tensors:
        """The fields of the images of several texts; none where there are no images."""
        images = [image for text in texts for image in text]
        return {name: torch.cat([image[name] for image in images]) for name in images[0]} if images else {}


class Packed(Pictures):
    """Patches of all images one after the other, and how many each has, high and wide."""

    def one(self, height: int, width: int, generator: torch.Generator) -> Tensors:
        pixels = torch.randn(height * width, *self.shape, generator=generator)
        sizes = {GRIDS[0]: (1, height, width), GRIDS[1]: (height, width), MERGES: self.unit}
        return {self.fields[0]: pixels} | {n: torch.tensor([of]) for n, of in sizes.items() if n in self.fields}


class Sized(Pictures):
    """Pictures of sizes of their own, which are told; together they are padded to one size with zeros."""

    def one(self, height: int, width: int, generator: torch.Generator) -> Tensors:
        height, width = height * self.patch, width * self.patch
        return {self.fields[0]: self._noise(height, width, generator), SIZES: torch.tensor([(height, width)])}

    def together(self, texts: Sequence[Sequence[Tensors]]) -> Tensors:
        pixels = [image[self.fields[0]] for text in texts for image in text]
        height, width = (max([one.shape[dim] for one in pixels], default=0) for dim in (-2, -1))
        padded = [
            [{**image, self.fields[0]: framed(image[self.fields[0]], height, width)} for image in of] for of in texts
        ]
        return super().together(padded)


class Masked(Pictures):
    """Pictures padded to one size, and which of their pixels are real: some patches are so in part."""

    def one(self, height: int, width: int, generator: torch.Generator) -> Tensors:
        height, width = (min(size * self.patch, self.side) - 1 for size in (height, width))
        real = torch.ones(1, height, width, dtype=torch.long)
        found = {self.fields[0]: self._noise(height, width, generator)}
        found |= {name: real for name in MASKS if name in self.fields}
        return {name: framed(value, self.side, self.side) for name, value in found.items()}


class Nested(Masked):
    """The pictures of each text [B, N, C, H, W]; a text that has fewer than another has some that are all zero."""

    def one(self, height: int, width: int, generator: torch.Generator) -> Tensors:
        return {name: value[None] for name, value in super().one(height, width, generator).items()}

    def together(self, texts: Sequence[Sequence[Tensors]]) -> Tensors:
        images = [image for text in texts for image in text]
        if not images:
            return {}
        absent = {name: torch.zeros_like(value) for name, value in images[0].items()}
        most = max(map(len, texts))
        filled = [[*text, *[absent] * (most - len(text))] for text in texts]
        return {name: torch.cat([torch.cat([one[name] for one in text], dim=1) for text in filled]) for name in absent}


@dataclass(frozen=True)
class Tiled(Pictures):
    """Pictures cut into tiles [I, tiles, C, S, S], an overview first, and their sizes; where a field says how many
    images each text has, those of a text with several are not cut. pinpoints: the resolutions that there are."""

    pinpoints: Sequence[Sequence[int]] = ()

    def one(self, height: int, width: int, generator: torch.Generator) -> Tensors:
        size = (height * (self.side // 2 - 1), width * (self.side // 2 - 1))  # no multiple of a tile
        count = image_size_to_num_patches(size, self.pinpoints, self.side)
        tiles = torch.randn(1, count, self.shape[0], self.side, self.side, generator=generator)
        return {self.fields[0]: tiles, SIZES: torch.tensor([size]), **self._counted([1])}

    def _counted(self, counts: list[int]) -> Tensors:
        return {COUNTS: torch.tensor(counts)} if COUNTS in self.fields else {}

    def together(self, texts: Sequence[Sequence[Tensors]]) -> Tensors:
        name = self.fields[0]
        whole = [[(image, len(text) > 1 and COUNTS in self.fields) for image in text] for text in texts]
        images = [(image[name][:, :1] if alone else image[name], image[SIZES]) for of in whole for image, alone in of]
        if not images:
            return {}
        most = max(tiles.shape[1] for tiles, _ in images)
        tiles = [torch.cat((of, of.new_zeros(1, most - of.shape[1], *of.shape[2:])), dim=1) for of, _ in images]
        sizes = torch.cat([size for _, size in images])
        return {name: torch.cat(tiles), SIZES: sizes, **self._counted([len(text) for text in texts])}


def framed(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """x [..., h, w] with zeros below and to its right."""
    return nn.functional.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]))


def pictures_of(reference: nn.Module, fields: Sequence[str]) -> Pictures:
    """What the reference's config and its first convolution tell of images whose fields have these names."""
    config: Any = reference.config
    vision = config.vision_config
    patch = first_of(vision, "patch_size")
    unit = next((n for c in (config, vision) if (n := getattr(c, "spatial_merge_size", None))), None)
    unit = unit or next(iter(getattr(vision, "merge_kernel_size", ())), 2 if MERGES in fields else 1)
    convolutions = (module for module in reference.modules() if isinstance(module, nn.Conv2d | nn.Conv3d))
    first = next(convolutions, None)  # none in towers that unfold pixels
    shape = (vision.num_channels, patch, patch) if first is None else tuple(first.weight.shape[1:])
    form, shape = _form(fields), (int(torch.tensor(shape).prod()),) if isinstance(first, nn.Conv3d) else shape
    side = first_of(vision, "image_size") if hasattr(vision, "image_size") else 0
    pinpoints = getattr(config, "image_grid_pinpoints", None)
    if pinpoints and form is Sized:
        return Tiled(tuple(fields), patch, unit, shape, side, pinpoints)
    return form(tuple(fields), patch, unit, shape, side)


def _form(fields: Sequence[str]) -> type[Pictures]:
    if set(GRIDS) & set(fields):
        return Packed
    if SIZES in fields:
        return Sized
    return next((form for mask, form in zip(MASKS, (Masked, Nested), strict=True) if mask in fields), Pictures)


def first_of(config: Any, name: str) -> int:
    """A size that may be given for each direction."""
    value = getattr(config, name)
    return int(value if isinstance(value, int) else value[0])
