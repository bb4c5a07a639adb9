"""Positions in time, height and width (M-RoPE: Qwen2-VL, arXiv 2409.12191), and the rotary table that follows them."""

import torch
from torch import nn

ORDERS = ("chunked", "interleaved")


def image_positions(is_image, boxes, mask=None, start=0):
    """Positions [3, B, S], and the count after the last token of each row [B, 1].

    Text counts 1, 1, 1; an image of t x h x w rows (boxes [I, 3], the images of all rows in order) is a box from the
    current count on, which it moves by max(h, w). is_image [B, S]; mask [B, S]: where there is no text, positions are
    0; start [B, 1] or a number: the count at the first token.
    Raises ValueError where the images need other numbers of tokens than there are.
    """
    is_text = torch.ones_like(is_image) if mask is None else mask.bool()
    counts = torch.as_tensor(start, device=is_image.device).expand(len(is_image), 1).clone()
    positions = torch.zeros(3, *is_image.shape, dtype=torch.long, device=is_image.device)
    images = iter(boxes.tolist())
    for row, real in enumerate(is_text):
        found, end = _of_one_row(is_image[row, real].tolist(), images, int(counts[row]))
        positions[:, row, real] = found.to(positions.device)
        counts[row] = end
    if next(images, None):
        raise ValueError(f"{len(boxes)} images, of which the text has fewer: give each its placeholders")
    return positions, counts


def _of_one_row(is_image, images, count):
    """[3, S] of a text without padding, and the count after it."""
    pieces, at = [torch.empty(3, 0, dtype=torch.long)], 0
    while at < len(is_image):
        if is_image[at]:
            box = next(images, None)
            if box is None or not all(is_image[at : at + _size(box)]) or at + _size(box) > len(is_image):
                raise ValueError(
                    f"image tokens at place {at} of a text, where {_told(box)}: all placeholders of an image follow one"
                    " another, in one text"
                )
            pieces.append(torch.cartesian_prod(*map(torch.arange, box)).view(-1, 3).T + count)
            at, count = at + _size(box), count + max(box[1:])
        else:
            stop = is_image.index(True, at) if True in is_image[at:] else len(is_image)
            pieces.append(torch.arange(count, count + stop - at).expand(3, -1))
            at, count = stop, count + stop - at
    return torch.cat(pieces, dim=1), count


def _told(box):
    return f"the next image needs {_size(box)} of them" if box else "there is no further image"


def _size(box):
    return box[0] * box[1] * box[2]


def merged_boxes(grid, n):
    """Frames, height and width in patches [I, 3] -> in rows of n x n patches."""
    return grid // torch.tensor([1, n, n], device=grid.device)


class AxesRotaryTable(nn.Module):
    """Positions [3, B, S] -> the cosines and sines [B, S, R/2] of a RotaryTable, each frequency by one of three axes.

    `chunked`: the first sections[0] frequencies follow time, the next sections[1] height, the rest width.
    `interleaved`: height and width take every third of the first 3 * sections[1 or 2], time has the others.
    Positions [B, S] are those of text: the same on all axes.
    Raises ValueError where the sections are not as many frequencies as the table turns, or for another order.
    """

    def __init__(self, table, sections, order="chunked"):
        super().__init__()
        if sum(sections) != table.width // 2 or len(sections) != 3:
            raise ValueError(f"mrope sections {sections}: there must be three, of {table.width // 2} in all")
        if order not in ORDERS:
            raise ValueError(f"order {order!r} is neither {' nor '.join(ORDERS)}")
        self.table, self.axes = table, _axes(list(sections), order)

    @property
    def scaling(self):
        return self.table.scaling

    def forward(self, x, positions):
        if positions.dim() == 2:
            return self.table(x, positions)
        axes = torch.tensor(self.axes, device=x.device).expand(1, *positions.shape[1:], -1)
        return self.table.told(tuple(part.gather(0, axes)[0] for part in self.table(x, positions)))


def _axes(sections, order):
    """Which axis each frequency follows."""
    if order == "chunked":
        return [axis for axis, count in enumerate(sections) for _ in range(count)]
    axes = [0] * sum(sections)
    for axis in (1, 2):
        for place in range(axis, min(3 * sections[axis], len(axes)), 3):
            axes[place] = axis
    return axes
