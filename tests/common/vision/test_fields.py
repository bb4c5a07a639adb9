"""What processors hand over: padding images, masks of pixels, sizes without time; blocks of tokens."""

import pytest
import torch

from nemo_automodel.components.models.common.vision.batch import flatten, not_, patch_mask, real_images, with_time
from nemo_automodel.components.models.common.vision.masks import image_blocks, prefix


def test_padding_images_go():
    pixels = torch.zeros(2, 3, 3, 4, 4)
    pixels[0, :2] = 1
    pixels[1, 0, 2, 3, 3] = 1
    mask = torch.arange(6).view(2, 3, 1, 1).expand(2, 3, 4, 4)
    assert torch.equal(real_images(pixels), torch.stack([pixels[0, 0], pixels[0, 1], pixels[1, 0]]))
    assert real_images(mask, pixels)[:, 0, 0].tolist() == [0, 1, 3]
    assert len(real_images(torch.zeros_like(pixels))) == 1
    assert real_images(None) is None
    assert real_images(None, pixels).shape == (3, 4, 4) and real_images(None, pixels).all()


def test_masks_that_a_batch_lacks_stay_lacking():
    assert flatten(None) is None and not_(None) is None
    assert not_(flatten(torch.tensor([[[True, False], [True, True]]]))).tolist() == [[False, True, False, False]]


def test_a_patch_is_real_by_any_or_all_of_its_pixels():
    mask = torch.zeros(1, 6, 7, dtype=torch.long)  # the last column is less than a patch
    mask[0, :3, :5] = 1
    assert patch_mask(mask, 2).tolist() == [[[True, True, True], [True, True, True], [False] * 3]]
    assert patch_mask(mask, 2, "all").tolist() == [[[True, True, False], [False] * 3, [False] * 3]]
    assert patch_mask(None, 2) is None
    with pytest.raises(ValueError, match="neither any nor all"):
        patch_mask(mask, 2, "most")


def test_sizes_with_time():
    assert with_time(torch.tensor([[2, 4], [6, 2]])).tolist() == [[1, 2, 4], [1, 6, 2]]
    assert with_time(None) is None


def test_blocks():
    is_image = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1], [0] * 5]).bool()
    assert image_blocks(is_image).numbers.tolist() == [[0, 0, -1, 1, -1], [-1, -1, 0, 0, 0], [-1] * 5]
    assert prefix(torch.tensor([[0, 0, 1]])).numbers.tolist() == [[0, 0, -1]]
    assert prefix(None) is None
