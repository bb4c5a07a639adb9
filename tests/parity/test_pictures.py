"""Forms in which images are drawn: each by its fields, with padding that has to be told from pictures."""

import pytest
import torch
from torch import nn
from transformers import PreTrainedConfig

from nemo_automodel.parity.pictures import pictures_of

SIDE, PATCH = 12, 3


def pictures(*fields, **whole):
    reference = nn.Sequential(nn.Conv2d(3, 8, PATCH))
    reference.config = PreTrainedConfig(**whole)
    reference.config.vision_config = PreTrainedConfig()
    reference.config.vision_config.patch_size, reference.config.vision_config.image_size = PATCH, SIDE
    return pictures_of(reference, ("pixel_values", *fields))


def test_pictures_of_one_size():
    found = pictures()
    assert found.together([found.drawn(2, 1), []])["pixel_values"].shape == (2, 3, SIDE, SIDE)
    assert found.together([[], []]) == {}


def test_sizes_of_their_own_are_padded_to_one():
    found = pictures("image_sizes")
    images = found.drawn(2, 1)
    joined = found.together([images])
    assert joined["image_sizes"].tolist() == [list(image["pixel_values"].shape[-2:]) for image in images]
    for picture, (height, width) in zip(joined["pixel_values"], joined["image_sizes"].tolist(), strict=True):
        assert (
            picture[:, :height, :width].ne(0).all() and not picture[:, height:].any() and not picture[..., width:].any()
        )


@pytest.mark.parametrize("mask", ["pixel_mask", "pixel_attention_mask"])
def test_masks_say_which_pixels_are_real_and_cut_patches(mask):
    for image in pictures(mask).drawn(4, 0):
        real = image[mask].bool().flatten(0, -3)[0]
        height, width = int(real[:, 0].sum()), int(real[0].sum())
        assert real.sum() == height * width and height % PATCH and width % PATCH
        assert torch.equal(image["pixel_values"].ne(0).any(-3).flatten(0, -3)[0], real)


def test_texts_with_fewer_images_have_some_that_are_zero():
    found = pictures("pixel_attention_mask")
    images = found.drawn(3, 1)
    joined = found.together([images[:1], images[1:], []])
    assert joined["pixel_values"].shape == (3, 2, 3, SIDE, SIDE)
    assert joined["pixel_attention_mask"].shape == (3, 2, SIDE, SIDE)
    for value in joined.values():
        assert value.flatten(2).any(-1).tolist() == [[True, False], [True, True], [False, False]]


@pytest.mark.parametrize("counted", [True, False])
def test_tiles_of_several_images_of_a_text_are_cut_unless_they_are_counted(counted):
    fields = ("image_sizes", "batch_num_images") if counted else ("image_sizes",)
    found = pictures(*fields, image_grid_pinpoints=[[SIDE, 2 * SIDE], [2 * SIDE, SIDE], [2 * SIDE, 2 * SIDE]])
    images = found.drawn(3, 1)
    counts = [image["pixel_values"].shape[1] for image in images]
    joined = found.together([images[:1], images[1:], []])
    real = joined["pixel_values"].flatten(2).any(-1).sum(-1).tolist()
    assert min(counts) > 1 and real == ([counts[0], 1, 1] if counted else counts)
    assert joined.get("batch_num_images", torch.zeros(0)).tolist() == ([1, 2, 0] if counted else [])
