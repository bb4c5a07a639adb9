"""What callers give of images, looked at before a tower sees it: towers repeat what is too short, cut off what is too
long, or fail far inside.

Processors call the same things by the same names in all families, and with them the pixels are

    image_grid_thw [I, 3] or image_grid_hws [I, 2], of patches    patches of all images [T, ...]
    image_sizes [I, 2], of pixels                                 pictures padded to one size [I, C, H, W], or tiles
    pixel_attention_mask [B, N, H, W]                             pictures of each text [B, N, C, H, W]
    pixel_mask [I, H, W], or nothing                              pictures [I, C, H, W]

`image_merge_sizes` [I] says how many patches become one row, in one direction; `batch_num_images` [B] how many images
each text has.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import nn

GRIDS = ("image_grid_thw", "image_grid_hws")
SIZES, MERGES, COUNTS = "image_sizes", "image_merge_sizes", "batch_num_images"
COLUMNS = {"image_grid_thw": 3, "image_grid_hws": 2, SIZES: 2, MERGES: 0, COUNTS: 0}  # of whole numbers; 0: one each
MASKS = {"pixel_mask": 4, "pixel_attention_mask": 5}  # of pixels of so many dimensions
CURE = "take all of them from one processor call"


@dataclass(frozen=True)
class Takes:
    """What a tower takes. patch: the shape of a patch, channels first (None: the tower has no convolution that tells);
    unit: patches that become one row, in one direction; side: of the only pictures, in patches (0: it takes others
    too); is_tiled: pictures come in tiles."""

    patch: tuple | None
    unit: int
    side: int
    is_tiled: bool

    @classmethod
    def of(cls, config, tower, fields):
        """By the config and the modules of a tower, and the names of what it is given with."""
        vision = config.vision_config
        units = (getattr(of, "spatial_merge_size", None) for of in (config, vision))
        unit = next(filter(None, units), None) or _first(getattr(vision, "merge_kernel_size", 1))
        is_tiled = SIZES in fields and bool(getattr(config, "image_grid_pinpoints", None))
        is_free = not is_tiled and any(name in (*GRIDS, SIZES, *MASKS) for name in fields)
        return cls(
            next(filter(None, map(_patch, tower.modules())), None),
            unit,
            0 if is_free else _only_side(vision, tower),
            is_tiled,
        )

    def checked(self, images, fields):
        """The fields that are given, as tensors. Raises ValueError where they contradict one another, or the tower."""
        if not images:
            return images
        name = fields[0]
        if name not in images:
            raise ValueError(f"{', '.join(images)} without {name}: give the pixels too, or none of them")
        pixels = images[name]
        if not isinstance(pixels, torch.Tensor):
            raise ValueError(f"{name} is of type {type(pixels).__name__}: ask the processor for return_tensors='pt'")
        if not pixels.numel():
            raise ValueError(f"{name} {_shape(pixels)} holds no image: leave it out")
        images = {field: _as_tensor(value, pixels) for field, value in images.items()}
        numbers = {field: _numbers(field, images.get(field), name) for field in COLUMNS if field in fields}
        grid = next((field for field in GRIDS if field in numbers), None)
        if grid is not None:
            return {**images, name: self._patches(name, pixels, grid, numbers)}
        self._refuse_other_pictures(name, pixels, next((MASKS[field] for field in fields if field in MASKS), 4))
        _refuse_other_sizes(name, pixels, numbers, self.is_tiled)
        for field in images.keys() & MASKS:
            _refuse_other_mask(field, images[field], name, pixels)
        return images

    def _patches(self, name, pixels, grid, numbers):
        """[T, ...], of pixels that may have further dimensions in front."""
        sizes = numbers[grid]
        units = numbers.get(MERGES, torch.full((len(sizes),), self.unit))
        if len(units) != len(sizes):
            raise ValueError(f"{len(units)} {MERGES}, {len(sizes)} rows of {grid}: {CURE}")
        if (sizes[:, -2:] % units[:, None]).any():
            said = f", says {MERGES}" if MERGES in numbers else ""
            raise ValueError(
                f"{grid} {sizes.tolist()}: height and width must be multiples of {units.unique().tolist()} patches,"
                f" which become one row{said}"
            )
        count, shape = int(sizes.prod(-1).sum()), pixels.shape
        front = next((dims for dims in range(1, len(shape)) if prod(shape[:dims]) == count), None)
        if front is None:
            raise ValueError(f"{name} {_shape(pixels)}, where {grid} {sizes.tolist()} says {count} patches: {CURE}")
        pixels = pixels.flatten(0, front - 1)
        if self.patch is None or pixels.shape[1:] == self.patch:
            return pixels
        if pixels.shape[1:] != (prod(self.patch),):
            raise ValueError(f"{name} {_shape(pixels)}: the tower takes patches of {_product(self.patch)} numbers")
        return pixels.unflatten(1, self.patch) if len(self.patch) == 3 else pixels  # others are for three dimensions

    def _refuse_other_pictures(self, name, pixels, dims):
        """Raises ValueError for pixels of other dimensions, channels or, where the tower knows one size, sizes."""
        allowed = (4, 5) if self.is_tiled else (dims,)
        if pixels.dim() not in allowed:
            layout = "[texts, images, channels, height, width]" if dims == 5 else "[images, channels, height, width]"
            raise ValueError(f"{name} {_shape(pixels)}: it must be {layout}")
        if self.patch is None:
            return
        channels, *size = self.patch
        if pixels.shape[-3] != channels:
            raise ValueError(f"{name} {_shape(pixels)}: the tower takes {channels} channels, before height and width")
        found = [length // patch for length, patch in zip(pixels.shape[-2:], size[-2:], strict=True)]
        if self.side and prod(found) != self.side**2:
            asked = _product([self.side * patch for patch in size[-2:]])
            raise ValueError(
                f"{name} {_shape(pixels)}: the tower has positions for pictures of {asked} pixels alone: have the"
                " processor resize them"
            )


def _patch(module):
    """The shape of a patch that a module takes, channels first: a convolution, or a linear map of what is unfolded."""
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        return tuple(module.weight.shape[1:])
    unfold, linear = ([one for one in module.children() if isinstance(one, kind)] for kind in (nn.Unfold, nn.Linear))
    if not (unfold and linear):
        return None
    size = unfold[0].kernel_size
    size = (size, size) if isinstance(size, int) else tuple(size)
    return linear[0].in_features // prod(size), *size


def _only_side(vision, tower):
    """Patches in one direction, of a tower that looks up a position for each; 0: there is no such table."""
    if not hasattr(vision, "image_size") or not hasattr(vision, "patch_size"):
        return 0
    side = _first(vision.image_size) // _first(vision.patch_size)
    rows = [module.num_embeddings for module in tower.modules() if isinstance(module, nn.Embedding)]
    rows += [
        len(one) for name, one in tower.named_parameters() if "position" in name.rpartition(".")[2] and one.dim() == 2
    ]
    return side if {side**2, side**2 + 1} & {*rows} else 0


def _numbers(field, value, pixels):
    """Positive whole numbers, a row or a number for each image, where the processor reads; None where none are needed.

    Raises ValueError for anything else.
    """
    if value is None and field == COUNTS:
        return None
    if value is None:
        raise ValueError(f"{pixels} without {field}, which says how they lie: {CURE}")
    columns, least = COLUMNS[field], int(field != COUNTS)
    layout = f"[images, {columns}]" if columns else "[images]" if least else "[texts]"
    if value.is_floating_point() or value.dtype == torch.bool:
        raise ValueError(f"{field} is of {value.dtype}: it must be whole numbers {layout}")
    if value.shape[1:] != ((columns,) if columns else ()) or not value.dim():
        raise ValueError(f"{field} {_shape(value)}: it must be {layout}")
    value = value.cpu()
    if (value < least).any():
        raise ValueError(f"{field} {value.tolist()}: each must be {least} or more")
    return value


def _refuse_other_sizes(name, pixels, numbers, is_tiled):
    """Raises ValueError where pictures are not those of which `image_sizes` tells."""
    sizes, counts = numbers.get(SIZES), numbers.get(COUNTS)
    if counts is not None and int(counts.sum()) != len(sizes):
        raise ValueError(f"{COUNTS} {counts.tolist()}, {len(sizes)} rows of {SIZES}: {CURE}")
    if sizes is None or is_tiled:  # tiles are counted where they are put together
        return
    if len(sizes) != len(pixels) or (sizes > torch.tensor(pixels.shape[-2:])).any():
        raise ValueError(f"{name} {_shape(pixels)}, where {SIZES} are {sizes.tolist()}: {CURE}")


def _refuse_other_mask(field, mask, name, pixels):
    """Raises ValueError where a mask is not one of these pixels, or leaves nothing of a picture."""
    wanted = (*pixels.shape[:-3], *pixels.shape[-2:])
    if mask.shape != wanted:
        raise ValueError(f"{field} {_shape(mask)}, {name} {_shape(pixels)}: the mask must be {wanted}")
    if mask.dim() == 3 and not mask.bool().flatten(1).any(-1).all():
        raise ValueError(f"{field} leaves no pixel of a picture: leave the picture out")


def refuse_videos(keywords):
    """Raises ValueError where a keyword gives a video."""
    if found := [name for name, value in keywords.items() if "video" in name and value is not None]:
        raise ValueError(f"{', '.join(found)}: no videos are read here: leave it out, or give frames as images")


def _as_tensor(value, like):
    """Tensors stay where they are."""
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value, device=like.device)


def _first(value):
    """Of a size that may be given for each direction."""
    return value if isinstance(value, int) else value[0]


def _shape(x):
    return tuple(x.shape)


def _product(lengths):
    return " x ".join(map(str, lengths))
