"""What a tower takes is read off its modules and its config; what does not fit is refused with names and cure."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nemo_automodel.components.models.common.vision.given import Takes, refuse_videos

GRID = ("pixel_values", "image_grid_thw")
MERGED = (*GRID, "image_merge_sizes")


def config(vision=None, **fields):
    return SimpleNamespace(vision_config=SimpleNamespace(**vision or {}), **fields)


def takes(*modules, vision=None, fields=("pixel_values",), **further):
    return Takes.of(config(vision, **further), nn.Sequential(*modules), fields)


def test_what_a_tower_takes():
    patches, table = nn.Conv2d(3, 8, 4), nn.Embedding(10, 8)
    vision = {"image_size": [12, 12], "patch_size": 4}
    assert takes(patches, table, vision=vision) == Takes((3, 4, 4), 1, 3, False)
    assert takes(patches, nn.Embedding(4, 8), vision=vision).side == 0  # a table of something else
    assert takes(patches, table, vision=vision, fields=("pixel_values", "pixel_mask")).side == 0
    assert takes(patches, vision={"merge_kernel_size": (2, 2)}, fields=GRID).unit == 2
    assert takes(patches, vision={"spatial_merge_size": 3}, fields=GRID).unit == 3
    assert takes(nn.Conv3d(3, 8, (2, 4, 4)), spatial_merge_size=4).patch == (3, 2, 4, 4)
    tiled = ("pixel_values", "image_sizes")
    found = takes(patches, table, vision=vision, fields=tiled, image_grid_pinpoints=[[12, 24]])
    assert (found.side, found.is_tiled) == (3, True)


def test_patches_are_counted_even_where_the_tower_tells_nothing():
    """A tower without convolutions, whose rows would be repeated to any length."""
    linear, grid = takes(nn.Linear(6, 8), fields=GRID), torch.tensor([[1, 2, 3], [2, 1, 1]])
    pixels = torch.ones(8, 6)
    for given in (pixels, pixels[None], pixels.view(2, 4, 6)):
        found = linear.checked({"pixel_values": given, "image_grid_thw": grid}, GRID)
        assert found["pixel_values"].shape == (8, 6) and found["image_grid_thw"] is grid
    with pytest.raises(ValueError, match=r"pixel_values \(1, 6\), where image_grid_thw .* says 8 patches"):
        linear.checked({"pixel_values": pixels[:1], "image_grid_thw": grid}, GRID)


def test_each_image_may_be_merged_otherwise():
    linear, grid = takes(nn.Linear(6, 8), fields=MERGED), torch.tensor([[1, 2, 2], [1, 1, 3]])
    images = {"pixel_values": torch.ones(7, 6), "image_grid_thw": grid, "image_merge_sizes": torch.tensor([2, 1])}
    assert linear.checked(images, MERGED)["pixel_values"].shape == (7, 6)
    with pytest.raises(ValueError, match=r"multiples of \[1, 2\] patches, .* says image_merge_sizes"):
        linear.checked({**images, "image_merge_sizes": torch.tensor([1, 2])}, MERGED)
    for wrong in ([2, 1, 1], [1]):
        with pytest.raises(ValueError, match=f"{len(wrong)} image_merge_sizes, 2 rows of image_grid_thw"):
            linear.checked({**images, "image_merge_sizes": torch.tensor(wrong)}, MERGED)


def test_nothing_is_nothing():
    assert takes(nn.Linear(6, 8)).checked({}, GRID) == {}
    refuse_videos({"pixel_values_videos": None, "use_cache": True})
