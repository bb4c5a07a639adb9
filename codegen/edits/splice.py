"""Byte-exact splices: positions of `ast` (line, UTF-8 column) turned into offsets, and replacements by offset."""

from collections.abc import Iterable


def line_starts(data: bytes) -> list[int]:
    """Offset of the start of every line, and of the end of the data."""
    starts = [0]
    for line in data.splitlines(keepends=True) if data else []:
        starts.append(starts[-1] + len(line))
    return starts


def splice(data: bytes, replacements: Iterable[tuple[int, int, bytes]]) -> bytes:
    """Replace each (start, end) by its bytes; the ranges do not overlap. Equal starts keep their order."""
    pieces: list[bytes] = []
    done = 0
    for start, end, new in sorted(replacements, key=lambda item: item[:2]):
        pieces += [data[done:start], new]
        done = end
    pieces.append(data[done:])
    return b"".join(pieces)
