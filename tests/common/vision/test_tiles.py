"""Images of any resolution: which tiles there are, and what rows they make."""

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaOnevisionConfig, LlavaOnevisionModel

from nemo_automodel.components.models.common.vision.tiles import Tiles

TILE, PATCHES, WIDTH = 12, 4, 8
PINPOINTS = [[12, 24], [24, 12], [24, 24], [12, 36], [36, 36]]
SIZES = torch.tensor([[12, 20], [22, 12], [24, 24], [40, 33]])
NEWLINE = torch.arange(float(WIDTH))


def tiles(batch_num_images=None):
    return Tiles.of(SIZES, PINPOINTS, TILE, batch_num_images)


@pytest.fixture(scope="module")
def theirs():
    vision = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    vision.image_size, vision.patch_size = TILE, TILE // PATCHES
    text = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    config = LlavaOnevisionConfig(text_config=text, vision_config=vision, image_grid_pinpoints=PINPOINTS)
    return LlavaOnevisionModel(config)


@pytest.mark.parametrize("most", [9, 1])
def test_rows_are_those_of_transformers(theirs, most):
    found = tiles()
    x = torch.randn(sum(found.counts), PATCHES**2, WIDTH, generator=torch.Generator().manual_seed(0))
    wanted, _ = theirs.pack_image_features(x.split(found.counts), SIZES, NEWLINE, f"anyres_max_{most}")
    assert torch.equal(found.packed(x, NEWLINE, most), torch.cat(wanted))


def test_a_line_ends_with_the_newline():
    found = Tiles.of(torch.tensor([[12, 24]]), PINPOINTS, TILE)
    x = torch.arange(3 * 16.0).view(3, 16, 1).expand(-1, -1, WIDTH)
    rows = found.packed(x, torch.full((WIDTH,), -1.0))[:, 0].tolist()
    lines = [[*range(16 + 4 * i, 20 + 4 * i), *range(32 + 4 * i, 36 + 4 * i), -1] for i in range(4)]
    assert rows == [*range(16), *sum(lines, [])]


def test_padding_goes_and_several_images_of_a_text_are_not_cut():
    assert tiles().counts == [3, 3, 5, 10]
    found = tiles(torch.tensor([1, 3]))
    assert found.counts == [3, 1, 1, 1]
    pixels = torch.randn(4, 5, 3, 2, 2)
    assert torch.equal(found.real(pixels), torch.cat((pixels[0, :3], pixels[1:, 0])))
    assert found.real(pixels[0, :1].expand(6, -1, -1, -1)).shape == (6, 3, 2, 2)
    assert found.packed(torch.zeros(6, 16, WIDTH), NEWLINE).shape == (16 + 4 * 7 + 3 * 17, WIDTH)


@pytest.mark.parametrize("shape", [(4, 2, 3, 2, 2), (5, 3, 2, 2), (3, 9, 3, 2, 2)])
def test_other_numbers_of_tiles_are_an_error(shape):
    with pytest.raises(ValueError, match="tiles: take both from one"):
        tiles().real(torch.zeros(shape))


def test_rows_of_merged_patches_come_one_after_the_other():
    found = tiles()
    x = torch.randn(sum(found.counts), PATCHES, WIDTH)
    assert torch.equal(found.packed(x.flatten(0, 1), NEWLINE), found.packed(x, NEWLINE))


def test_pixels_without_sizes_are_an_error():
    with pytest.raises(ValueError, match="pixels without image_sizes"):
        Tiles.of(None, PINPOINTS, TILE)
