"""Neighbouring patches become one row: side by side in its channels, or their mean."""

import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common.vision.rows import by_size, smaller

ORDERS = {
    "raster": (0, 1, 3, 2, 4, 5),  # patches one after the other, as pixel shuffle has them
    "channel_major": (0, 1, 3, 5, 2, 4),  # all patches of a channel together, as `unfold` has them
}


def merge_patches(x, grid, n, order="raster"):
    """n x n neighbours become one row: x [T, D], grid [I, 2] -> [T / n**2, n**2 * D], grid // n.

    order: how they lie in a row, `raster` or `channel_major`; `preordered` where they follow one another in x already.
    Raises ValueError where an image is no multiple of n, or for another order.
    """
    if order == "preordered":
        return x.reshape(-1, n * n * x.shape[-1]), smaller(grid, n)
    if order not in ORDERS:
        raise ValueError(f"order {order!r} is none of preordered, {', '.join(ORDERS)}")
    fewer, merged = smaller(grid, n), []
    for pictures in by_size(x, grid):
        count, height, width, _ = pictures.shape
        blocks = pictures.view(count, height // n, n, width // n, n, -1).permute(ORDERS[order])
        merged.append(blocks.reshape(count * height * width // n**2, -1))
    return torch.cat(merged), fewer


def avg_pool(x, grid, n):
    """The mean of n x n neighbours: x [T, D], grid [I, 2] -> [T / n**2, D], grid // n. Raises as `merge_patches`."""
    fewer = smaller(grid, n)
    pooled = [F.avg_pool2d(pictures.permute(0, 3, 1, 2), n).permute(0, 2, 3, 1) for pictures in by_size(x, grid)]
    return torch.cat([pictures.flatten(0, 2) for pictures in pooled]), fewer
