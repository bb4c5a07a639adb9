"""What processors hand over, in the form in which towers take it. Fields that a batch lacks are None, and stay so."""

import torch
from torch.nn import functional as F


def real_images(x, like=None):
    """[B, N, ...] -> [images, ...]: without the images that are padding, all zero in `like` (None: in x itself).

    Of a batch of padding alone the first is kept. A mask x [B, N, H, W] that the batch lacks says that all pixels of
    `like` [B, N, C, H, W] are real.
    """
    if x is None and like is None:
        return None
    if x is None:
        x = torch.ones_like(like[:, :, 0], dtype=torch.bool)
    is_real = ((x if like is None else like).flatten(0, 1).flatten(1) != 0).any(-1)
    if not is_real.any():
        is_real[0] = True
    return x.flatten(0, 1)[is_real]


def patch_mask(mask, patch, rule="any"):
    """A mask of pixels [I, H, W] -> of patches [I, H // patch, W // patch]: real if `any` (or `all`) pixels are.

    Raises ValueError for another rule.
    """
    if mask is None:
        return None
    if rule not in ("any", "all"):
        raise ValueError(f"rule {rule!r} is neither any nor all")
    real = mask.bool() if rule == "any" else ~mask.bool()
    touched = F.max_pool2d(real[:, None].float(), patch)[:, 0].bool()
    return touched if rule == "any" else ~touched


def with_time(sizes):
    """Heights and widths [I, 2] -> [I, 3]: one frame each."""
    return None if sizes is None else torch.cat((torch.ones_like(sizes[:, :1]), sizes), dim=1)


def flatten(x):
    """[I, ...] -> [I, P]."""
    return None if x is None else x.flatten(1)


def not_(mask):
    """What is False in a mask."""
    return None if mask is None else ~mask
