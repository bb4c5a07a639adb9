"""Images of any resolution, cut into tiles (LLaVA-NeXT, LLaVA-OneVision): an overview, then tiles row by row."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch.nn import functional as F
from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

SMALL = 1.1  # a picture is shrunk where it is more than so many times larger in each direction


@dataclass(frozen=True)
class Tiles:
    """sizes: of the images, in pixels; shapes: how many tiles high and wide each is, (0, 0) for an overview alone."""

    sizes: list
    shapes: list

    @classmethod
    def of(cls, image_sizes, pinpoints, tile, batch_num_images=None):
        """image_sizes [I, 2]; pinpoints: the resolutions that there are; tile: the side of one, in pixels.

        batch_num_images [B]: how many images each text has; those of a text with several are not cut.
        Raises ValueError where there are no sizes.
        """
        if image_sizes is None:
            raise ValueError(
                "pixels without image_sizes, which say how they are cut: take both from one processor call"
            )
        sizes, cut = image_sizes.tolist(), [True] * len(image_sizes)
        if batch_num_images is not None:
            cut = [count == 1 for count in batch_num_images.tolist() for _ in range(count)]
        shapes = [
            get_anyres_image_grid_shape(size, pinpoints, tile) if is_cut else (0, 0)
            for size, is_cut in zip(sizes, cut, strict=True)
        ]
        return cls(sizes, shapes)

    @property
    def counts(self):
        """How many tiles each image has, its overview with them."""
        return [1 + height * width for height, width in self.shapes]

    def real(self, pixels):
        """[I, tiles, 3, H, W], padded with tiles -> [all tiles, 3, H, W]; without the padding it is so already.

        Raises ValueError where the sizes of the images make other numbers of tiles.
        """
        if pixels.dim() == 5 and len(pixels) == len(self.counts) and max(self.counts) <= pixels.shape[1]:
            return torch.cat([image[:count] for image, count in zip(pixels, self.counts, strict=True)])
        if pixels.dim() != 4 or len(pixels) != sum(self.counts):
            raise ValueError(
                f"pixels {tuple(pixels.shape)}, where the sizes of images make {self.counts} tiles: take both from one"
                " processor call"
            )
        return pixels

    def packed(self, x, newline, max_tiles=None):
        """Rows of tiles [all tiles, P, D], or [all tiles * P, D], -> [T, D]: of each image its overview, then the
        picture that its tiles make, without what was padded, shrunk to at most `max_tiles` of them, with newline [D] at
        the end of each line."""
        x = x.reshape(sum(self.counts), -1, x.shape[-1])  # merged patches come one after the other
        images = zip(x.split(self.counts), self.sizes, self.shapes, strict=True)
        return torch.cat([_of_one(tiles, size, shape, newline, max_tiles) for tiles, size, shape in images])


def _of_one(tiles, size, shape, newline, max_tiles):
    if len(tiles) == 1:
        return torch.cat((tiles[0], newline[None].to(tiles)))
    side = round(sqrt(tiles.shape[1]))
    picture = tiles[1:].view(*shape, side, side, -1).permute(4, 0, 2, 1, 3).flatten(3, 4).flatten(1, 2)
    picture = unpad_image(picture, size)
    if max_tiles is not None:
        picture = _shrunk(picture, max_tiles * side**2)
    lines = newline[:, None, None].expand(-1, picture.shape[1], 1).to(picture)
    return torch.cat((tiles[0], torch.cat((picture, lines), dim=-1).flatten(1).t()))


def _shrunk(picture, most):
    """[D, height, width] of at most so many rows, or a little more."""
    height, width = picture.shape[1:]
    ratio = sqrt(height * width / most)
    if ratio <= SMALL:
        return picture
    return F.interpolate(picture[None], [int(height // ratio), int(width // ratio)], mode="bilinear")[0]
