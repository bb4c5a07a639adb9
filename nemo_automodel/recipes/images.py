"""Data sets of images and text for the recipes.

An item is an `Example`; the collator (`collating.py`) makes batches of them with the processor of the checkpoint.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from nemo_automodel.recipes.data import json_rows

MARK = "<image>"  # in a text of a row: an image stands here
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Example:
    """A conversation.

    Attributes:
        messages: as chat templates take them, `{"role": ..., "content": [{"type": "image"}, {"type": "text", ...}]}`.
        images: the pictures (`PIL.Image.Image`, RGB) that stand at the parts of type `image`, in their order.
        where: what errors call it.
    """

    messages: list[dict[str, Any]]
    images: list[Any]
    where: str = "an example"


class ImageTextDataset(Dataset[Example]):
    """A JSON-lines file. Files of images are looked for in `folder`, by default that of the file.

    A row has `images`, a list of files (or `image`, one), and either `prompt` and `answer`, or `messages` as chat
    templates take them, which end in an answer. `<image>` in a text, or a part `{"type": "image"}`, says where an image
    stands; in a row of prompt and answer without any, they stand before the prompt.

    Raises:
        ValueError: with the line, where a row is none of these, an image is missing, or there are more or fewer images
            than places for them. An image that cannot be read is told when it is taken.
    """

    takes_images = True

    def __init__(self, path: str, folder: str | None = None) -> None:
        place = Path(path).parent if folder is None else Path(folder)
        self.rows = [_checked(row, place, where) for where, row in json_rows(Path(path))]
        if not self.rows:
            raise ValueError(f"{path}: has no rows")

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        messages, files, where = self.rows[index]
        return Example(messages, [_opened(file, where) for file in files], where)

    def without_images(self) -> str | None:
        """Where the first example stands that has none."""
        return next((where for _, files, where in self.rows if not files), None)


class MockImageTextDataset(Dataset[Example]):
    """Pictures of one colour each, of several sizes, and what colour it is: learnable within a few steps, and nothing
    to download.

    Raises:
        ValueError: there would be no examples, or empty pictures.
    """

    takes_images = True
    colours = ("red", "green", "blue", "yellow", "white", "black")
    shapes = ((1.0, 0.75), (0.5, 1.0), (1.0, 1.0))  # height and width, of the longest side

    def __init__(self, samples: int, longest_side: int = 224, seed: int = 0) -> None:
        if samples < 1 or longest_side < 2:
            raise ValueError(f"samples is 1 or more and longest_side 2 or more, got {samples} and {longest_side}")
        generator = torch.Generator().manual_seed(seed)
        self.drawn = torch.randint(len(self.colours), (samples,), generator=generator).tolist()
        self.longest_side = longest_side

    def __len__(self) -> int:
        return len(self.drawn)

    def __getitem__(self, index: int) -> Example:
        from PIL import Image

        colour = self.colours[self.drawn[index]]
        height, width = (int(self.longest_side * part) for part in self.shapes[index % len(self.shapes)])
        picture = Image.new("RGB", (width, height), colour)
        return Example(_asked("What colour is it?", colour, 1), [picture], f"example {index}")

    def without_images(self) -> str | None:
        return None


def _checked(row: Any, folder: Path, where: str) -> tuple[list[dict[str, Any]], list[Path], str]:
    """Messages with parts, and the files of their images."""
    if not isinstance(row, dict):
        raise ValueError(f"{where}: expected an object with images, and prompt and answer or messages")
    files = _files(row, folder, where)
    messages = _messages(row, len(files), where)
    places = sum(part["type"] == "image" for part in chain(*(message["content"] for message in messages)))
    if places != len(files):
        raise ValueError(
            f"{where}: images: {len(files)}, places for them ('{MARK}' or a part of type image): {places}; "
            "give each image its place"
        )
    return messages, files, where


def _files(row: dict[str, Any], folder: Path, where: str) -> list[Path]:
    if "image" in row and "images" in row:
        raise ValueError(f"{where}: has image and images; keep one of them")
    names = row.get("images", [row["image"]] if "image" in row else [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: expected names of files in images, got {names!r:.80}")
    files = [folder / name for name in names]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{where}: there is no image {file}; files are looked for in {folder}, or say folder")
    return files


def _messages(row: dict[str, Any], count: int, where: str) -> list[dict[str, Any]]:
    prompt, answer, messages = (row.get(name) for name in ("prompt", "answer", "messages"))
    if isinstance(prompt, str) and isinstance(answer, str) and messages is None:
        return _asked(prompt, answer, count)
    if not isinstance(messages, list) or prompt is not None or answer is not None:
        raise ValueError(f"{where}: expected prompt and answer, two texts, or messages, a list")
    made = [_message(message, where) for message in messages]
    if not made or made[-1]["role"] != "assistant":
        raise ValueError(f"{where}: the last message must be the assistant's: nothing else is learned")
    return made


def _asked(prompt: str, answer: str, count: int) -> list[dict[str, Any]]:
    """A question with its images, and its answer."""
    first = [] if MARK in prompt else [{"type": "image"}] * count
    return [
        {"role": "user", "content": [*first, *_parts(prompt)]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise ValueError(f"{where}: expected a message with a role of {', '.join(ROLES)}, got {message!r:.80}")
    content = message.get("content")
    parts = _parts(content) if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(map(_is_part, parts)):
        raise ValueError(
            f"{where}: expected content of text, or of parts {{type: image}} and {{type: text, text: ...}}, "
            f"got {content!r:.80}"
        )
    if message["role"] == "assistant" and any(part["type"] == "image" for part in parts):
        raise ValueError(f"{where}: an answer has an image in it; images belong to what is asked")
    return {"role": message["role"], "content": parts}


def _is_part(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    return part == {"type": "image"} or (part.keys() == {"type", "text"} and isinstance(part["text"], str))


def _parts(text: str) -> list[dict[str, str]]:
    """A text as parts, with images where they are marked."""
    pieces = [[{"type": "text", "text": piece}] if piece else [] for piece in text.split(MARK)]
    return [*pieces[0], *chain.from_iterable([{"type": "image"}, *piece] for piece in pieces[1:])]


def _opened(file: Path, where: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            return picture.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{where}: {file} is no image that can be read: {error}") from error
