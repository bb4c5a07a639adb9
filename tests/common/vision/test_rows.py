"""Rows of patches: several images of unlike sizes, merged, pooled, and padding that goes."""

import pytest
import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common.vision.merging import avg_pool, merge_patches
from nemo_automodel.components.models.common.vision.rows import rows, square_grid

GRID = torch.tensor([[2, 4], [2, 4], [6, 2], [2, 4]])


@pytest.fixture
def images():
    """One picture [height, width, 3] for each line of the grid, and their rows."""
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.randn(*size, 3, generator=generator) for size in GRID.tolist()]
    return pictures, torch.cat([picture.flatten(0, 1) for picture in pictures])


def test_rows_of_several_images(images):
    pictures, flat = images
    assert torch.equal(rows(flat, GRID), flat)
    assert torch.equal(rows(flat[None], GRID), flat)
    padded = torch.stack([F.pad(one.flatten(0, 1), (0, 0, 0, 15 - one[..., 0].numel()), value=7) for one in pictures])
    assert torch.equal(rows(padded, GRID), flat)


@pytest.mark.parametrize("shape", [(4, 7, 3), (35, 3), (1, 35, 3)])
def test_too_few_rows_are_an_error(shape):
    with pytest.raises(ValueError, match="patches"):
        rows(torch.zeros(shape), GRID)


def test_square_grid():
    assert square_grid(torch.zeros(2, 9, 3)).tolist() == [[3, 3], [3, 3]]
    with pytest.raises(ValueError, match="10 patches are no square"):
        square_grid(torch.zeros(2, 10, 3))


def test_raster_is_patch_after_patch(images):
    pictures, flat = images
    merged, grid = merge_patches(flat, GRID, 2)
    wanted = [
        torch.cat([picture[i + di, j + dj] for di in (0, 1) for dj in (0, 1)])
        for picture in pictures
        for i in range(0, picture.shape[0], 2)
        for j in range(0, picture.shape[1], 2)
    ]
    assert torch.equal(merged, torch.stack(wanted))
    assert torch.equal(grid, GRID // 2)


def test_channel_major_is_unfold(images):
    pictures, flat = images
    merged, _ = merge_patches(flat, GRID, 2, "channel_major")
    wanted = [F.unfold(picture.permute(2, 0, 1)[None], 2, stride=2)[0].t() for picture in pictures]
    assert torch.equal(merged, torch.cat(wanted))


def test_preordered_takes_rows_as_they_come(images):
    _, flat = images
    merged, grid = merge_patches(flat, GRID, 2, "preordered")
    assert torch.equal(merged, flat.view(-1, 12))
    assert torch.equal(grid, GRID // 2)


def test_pooling(images):
    pictures, flat = images
    pooled, grid = avg_pool(flat, GRID, 2)
    wanted = [picture.unfold(0, 2, 2).unfold(1, 2, 2).mean((-1, -2)).flatten(0, 1) for picture in pictures]
    torch.testing.assert_close(pooled, torch.cat(wanted))
    assert torch.equal(grid, GRID // 2)


@pytest.mark.parametrize("merge", [merge_patches, avg_pool])
def test_faults_are_told(images, merge):
    _, flat = images
    with pytest.raises(ValueError, match="multiples of 3"):
        merge(flat, GRID, 3)
    with pytest.raises(ValueError, match="35 rows, where the sizes of images say 36"):
        merge(flat[:-1], GRID, 2)


def test_unknown_order_is_an_error(images):
    with pytest.raises(ValueError, match="none of preordered, raster, channel_major"):
        merge_patches(images[1], GRID, 2, "spiral")
