"""Positions in time, height and width, held against a count token by token; and tables that follow three axes."""

import pytest
import torch

from nemo_automodel.components.models.common.rope import RotaryTable
from nemo_automodel.components.models.common.vision.positions import AxesRotaryTable, image_positions, merged_boxes

BOXES = torch.tensor([[1, 2, 3], [2, 3, 1], [1, 1, 4]])
# t text, each letter an image
TEXTS = ("tt" + "a" * 6 + "t", "t" + "b" * 6 + "c" * 4 + "ttt", "ttttt")


def batch(left):
    length = max(map(len, TEXTS))
    texts = [text.rjust(length, ".") if left else text.ljust(length, ".") for text in TEXTS]
    is_image = torch.tensor([[one in "abc" for one in text] for text in texts])
    return is_image, torch.tensor([[one != "." for one in text] for text in texts]).long()


def counted(text, start=0):
    """One token after the other."""
    found, count, at = [], start, 0
    while at < len(text):
        if text[at] == "t":
            found.append((count, count, count))
            at, count = at + 1, count + 1
            continue
        t, h, w = BOXES["abc".index(text[at])].tolist()
        found += [(count + i, count + j, count + k) for i in range(t) for j in range(h) for k in range(w)]
        at, count = at + t * h * w, count + max(h, w)
    return found, count


@pytest.mark.parametrize("left", [True, False])
def test_positions_of_a_padded_batch(left):
    is_image, mask = batch(left)
    positions, counts = image_positions(is_image, BOXES, mask)
    for row, text in enumerate(TEXTS):
        wanted, count = counted(text)
        assert list(zip(*positions[:, row, mask[row].bool()].tolist(), strict=True)) == wanted
        assert counts[row].item() == count
    assert not positions[:, mask == 0].any()


def test_positions_go_on_from_a_count():
    is_image = torch.tensor([[False, *[True] * 6, False]])
    positions, counts = image_positions(is_image, BOXES[:1], start=torch.tensor([[10]]))
    wanted, count = counted("taaaaaat", 10)
    assert list(zip(*positions[:, 0].tolist(), strict=True)) == wanted
    assert counts.item() == count


@pytest.mark.parametrize("places", [slice(0, 5), slice(0, 7), slice(0, 0)])
def test_wrong_numbers_of_image_tokens_are_an_error(places):
    is_image = torch.zeros(1, 9, dtype=torch.bool)
    is_image[:, places] = True
    with pytest.raises(ValueError, match="image"):
        image_positions(is_image, BOXES[:1])


def test_merged_boxes():
    assert merged_boxes(torch.tensor([[2, 4, 6]]), 2).tolist() == [[2, 2, 3]]


@pytest.mark.parametrize(
    ("order", "axes"), [("chunked", [0, 1, 1, 2, 2, 2]), ("interleaved", [0, 1, 2, 0, 1, 2])], ids=["chunked", "woven"]
)
def test_each_frequency_follows_its_axis(order, axes):
    table = RotaryTable(37.0, 12)
    woven = AxesRotaryTable(table, [1, 2, 3], order)
    positions = torch.arange(24).view(3, 2, 4)
    x = torch.zeros(2, 4, 12)
    for part, found in enumerate(woven(x, positions)):
        for frequency, axis in enumerate(axes):
            assert torch.equal(found[..., frequency], table(x, positions[axis])[part][..., frequency])
    assert torch.equal(woven(x, positions[0])[0], table(x, positions[0])[0])
    assert woven.scaling is table.scaling


@pytest.mark.parametrize(("sections", "order"), [([1, 2, 2], "chunked"), ([3, 3], "chunked"), ([1, 2, 3], "striped")])
def test_sections_that_do_not_fit_are_an_error(sections, order):
    with pytest.raises(ValueError, match="mrope sections|neither chunked nor interleaved"):
        AxesRotaryTable(RotaryTable(37.0, 12), sections, order)
