"""Rows of images and text: what may be written, and mistakes by line."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nemo_automodel.recipes.images import ImageTextDataset, MockImageTextDataset

ASKED = {"type": "text", "text": "Which?"}
ANSWER = {"role": "assistant", "content": [{"type": "text", "text": "red"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size in {"wide": (60, 30), "tall": (20, 50)}.items():
        Image.new("L", size).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_text("no picture")
    return tmp_path


def rows(folder: Path, *rows: Any) -> ImageTextDataset:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return ImageTextDataset(str(path))


def test_prompt_and_answer(folder: Path) -> None:
    example = rows(folder, {"image": "wide.png", "prompt": "Which?", "answer": "red"})[0]
    assert example.messages == [{"role": "user", "content": [{"type": "image"}, ASKED]}, ANSWER]
    assert [(image.size, image.mode) for image in example.images] == [((60, 30), "RGB")]
    assert example.where.endswith("rows.jsonl:1")


def test_marks_say_where_images_stand(folder: Path) -> None:
    row = {"images": ["wide.png", "tall.png"], "prompt": "<image> or <image>", "answer": "red"}
    example = rows(folder, row)[0]
    between = {"type": "text", "text": " or "}
    assert example.messages[0]["content"] == [{"type": "image"}, between, {"type": "image"}]
    assert [image.size for image in example.images] == [(60, 30), (20, 50)]


def test_messages(folder: Path) -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "image"}, ASKED]},
        {"role": "assistant", "content": "red"},
    ]
    dataset = rows(folder, {"images": ["tall.png"], "messages": messages}, {"messages": [messages[0], ANSWER]})
    system = {"role": "system", "content": [{"type": "text", "text": "Be short."}]}
    assert dataset[0].messages == [system, messages[1], ANSWER]
    assert dataset.without_images().endswith("rows.jsonl:2") and len(dataset) == 2


def test_files_are_looked_for_in_a_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text(json.dumps({"image": "wide.png", "prompt": "?", "answer": "red"}))
    assert ImageTextDataset(str(path), folder=str(folder))[0].images[0].size == (60, 30)
    with pytest.raises(ValueError, match="rows.jsonl:1: there is no image .*wide.png; files are looked for in"):
        ImageTextDataset(str(path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ("[]", "expected an object with images"),
        ({"prompt": "?"}, "expected prompt and answer, two texts, or messages, a list"),
        ({"prompt": "?", "answer": "x", "messages": []}, "expected prompt and answer, two texts, or messages"),
        ({"image": "no.png", "prompt": "?", "answer": "x"}, "there is no image .*no.png"),
        ({"image": "wide.png", "images": [], "prompt": "?", "answer": "x"}, "has image and images; keep one"),
        ({"images": "wide.png", "prompt": "?", "answer": "x"}, "expected names of files in images, got 'wide.png'"),
        (
            {"images": ["wide.png"], "prompt": "<image> <image>", "answer": "x"},
            "images: 1, places .*: 2; give each image its place",
        ),
        (
            {"images": ["wide.png", "tall.png"], "prompt": "<image>", "answer": "x"},
            "images: 2, places .*: 1; give each image its place",
        ),
        ({"images": ["wide.png"], "messages": [ANSWER]}, "images: 1, places .*: 0; give each image its place"),
        ({"prompt": "<image>", "answer": "x"}, "images: 0, places .*: 1; give each image its place"),
        ({"messages": [ANSWER, {"role": "user", "content": "?"}]}, "the last message must be the assistant's"),
        (
            {"messages": [{"role": "human", "content": "?"}]},
            "expected a message with a role of system, user, assistant",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "expected content of text, or of parts"),
        ({"image": "wide.png", "messages": [{"role": "assistant", "content": "<image>"}]}, "an answer has an image"),
    ],
)
def test_a_bad_row_is_named(folder: Path, row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"rows.jsonl:2: {message}"):
        rows(folder, {"prompt": "?", "answer": "x"}, row)


def test_a_file_that_is_no_image(folder: Path) -> None:
    with pytest.raises(ValueError, match="rows.jsonl:1: .*broken.png is no image that can be read"):
        rows(folder, {"image": "broken.png", "prompt": "?", "answer": "x"})[0]


def test_no_rows(folder: Path) -> None:
    with pytest.raises(ValueError, match="rows.jsonl: has no rows"):
        rows(folder, "")


def test_mock_pictures_are_reproducible_and_of_several_sizes() -> None:
    first, second, other = (MockImageTextDataset(24, 32, seed) for seed in (1, 1, 2))
    assert first.drawn == second.drawn != other.drawn
    assert {example.images[0].size for example in first} == {(24, 32), (32, 16), (32, 32)}
    for example in first:
        colour = example.messages[1]["content"][0]["text"]
        assert example.images[0].getpixel((0, 0)) == Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    with pytest.raises(ValueError, match="samples is 1 or more"):
        MockImageTextDataset(0)
