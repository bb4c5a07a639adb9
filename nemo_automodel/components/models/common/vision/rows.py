"""Patches of images of several sizes as rows, one image after the other.

A grid [I, 2] says how many patches high and wide each image is.
"""

from itertools import groupby
from math import isqrt

import torch


def rows(x, grid):
    """Patches of all images one after the other: x [..., D], grid [I, 2] -> [T, D].

    Where images are padded to one length [I, P, D], what is beyond height * width of an image goes.
    Raises ValueError where there are fewer patches than the grid says.
    """
    lengths = grid.prod(-1).tolist()
    flat = x.reshape(-1, x.shape[-1])
    if len(flat) == sum(lengths):
        return flat
    if x.dim() != 3 or len(x) != len(lengths) or max(lengths) > x.shape[1]:
        raise ValueError(
            f"the tower gives {tuple(x.shape)}, the sizes of images say {lengths} patches: give each image its own size"
        )
    return torch.cat([image[:length] for image, length in zip(x, lengths, strict=True)])


def square_grid(x):
    """[I, 2] for images of as many patches high as wide: x [I, P, D]. Raises ValueError where P is no square."""
    side = isqrt(x.shape[1])
    if side * side != x.shape[1]:
        raise ValueError(f"{x.shape[1]} patches are no square: the tower gives more than the patches of an image")
    return torch.full((x.shape[0], 2), side)


def by_size(x, grid):
    """Rows [T, D] as pictures: a list of [N, height, width, D], one for each run of N images of one size.

    Raises ValueError where the grid says another number of rows.
    """
    sizes = [(len(list(run)), *size) for size, run in groupby(map(tuple, grid.tolist()))]
    lengths = [count * height * width for count, height, width in sizes]
    if sum(lengths) != len(x):
        raise ValueError(f"{len(x)} rows, where the sizes of images say {sum(lengths)}: give each image its own size")
    return [part.view(*size, -1) for part, size in zip(x.split(lengths), sizes, strict=True)]


def smaller(grid, n):
    """The grid of n x n neighbours [I, 2]. Raises ValueError where an image is no multiple of them."""
    if (grid % n).any():
        raise ValueError(f"images of {grid.tolist()} patches: height and width must be multiples of {n}")
    return grid // n
