"""Labels are the answers, token for token, whatever a processor does to the text around images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from nemo_automodel.recipes.collating import ImageTextCollator
from nemo_automodel.recipes.images import Example
from tests.recipes.images.checkpoints import MARKED, OPEN, llava_processor, template, tokenizer
from tests.recipes.images.processors import PROCESSORS, suffix, untold

SIZES = ((60, 30), (40, 70), (50, 50))
END = "<|im_end|>"


def conversation(*turns: tuple[str, int, str]) -> Example:
    """Of turns (question, number of images before it, answer)."""
    messages, images = [], []
    for question, count, answer in turns:
        places = [{"type": "image"}] * count
        messages.append({"role": "user", "content": [*places, {"type": "text", "text": question}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        images += [Image.effect_noise(size, 64).convert("RGB") for size in SIZES[:count]]
    return Example(messages, images, "rows.jsonl:1")


SHORT = conversation(("Which colour?", 1, "red"))
TWO = conversation(("Which one is larger here?", 2, " deep blue  sea"))
BARE = conversation(("No picture?", 0, "none"))
LONG = conversation(("This?", 1, "red"), ("And red, red these?", 2, "red"), ("Last?", 0, "no one"))


def learned(processor: Any, batch: dict[str, Tensor]) -> list[str]:
    """What is written in the labels, which must be ids of the text."""
    labels, ids = batch["labels"], batch["input_ids"]
    is_learned = labels != -100
    assert torch.equal(labels[is_learned], ids[is_learned])
    assert not is_learned[batch["attention_mask"] == 0].any()
    assert not is_learned[ids == processor.tokenizer.convert_tokens_to_ids(processor.image_token)].any()
    return [processor.tokenizer.decode(row[real]) for row, real in zip(ids, is_learned, strict=True)]


@pytest.fixture(params=PROCESSORS)
def processor(request: pytest.FixtureRequest) -> Any:
    return PROCESSORS[request.param]()


@pytest.mark.parametrize("side", ["left", "right"])
def test_answers_alone_are_learned(processor: Any, side: str) -> None:
    processor.tokenizer.padding_side = side
    batch = ImageTextCollator(processor)([SHORT, TWO])
    assert learned(processor, batch) == [f"red{END}", f" deep blue  sea{END}"]
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert not {"offset_mapping", "text_replacement_offsets"} & batch.keys()


def test_every_answer_of_a_conversation(processor: Any) -> None:
    """Also those that stand before a later image."""
    assert learned(processor, ImageTextCollator(processor)([LONG])) == [f"red{END}red{END}no one{END}"]


def test_texts_without_images() -> None:
    for name in ("one size", "padded", "any size", "tiles"):
        processor = PROCESSORS[name]()
        assert learned(processor, ImageTextCollator(processor)([BARE, SHORT])) == [f"none{END}", f"red{END}"]
        alone = ImageTextCollator(processor)([BARE])
        assert learned(processor, alone) == [f"none{END}"] and "pixel_values" not in alone


def test_the_batch_is_what_the_processor_makes() -> None:
    processor = PROCESSORS["any size"]()
    batch = ImageTextCollator(processor)([SHORT])
    text = f"<|im_start|>user\n<image>Which colour?{END}\n<|im_start|>assistant\nred{END}"
    wanted = processor(text=[text], images=SHORT.images, return_tensors="pt")
    assert batch.keys() - {"labels"} == wanted.keys()
    assert all(torch.equal(batch[name], wanted[name]) for name in wanted)


def test_an_end_is_added_where_the_template_has_none() -> None:
    """Else the model would never learn to stop."""
    processor = llava_processor(tokenizer(), OPEN)
    batch = ImageTextCollator(processor)([SHORT, LONG])
    assert learned(processor, batch) == [" red</s>", " red red no one</s>"]


def test_a_piece_over_the_border_is_the_answers() -> None:
    """A prompt that ends in a space, which begins the answer's first token."""
    processor = llava_processor(tokenizer(), OPEN)
    processor.chat_template = template(OPEN.replace("ASSISTANT:", "ASSISTANT: "), "<image>")
    batch = ImageTextCollator(processor)([SHORT])
    assert processor.tokenizer.convert_ids_to_tokens(batch["labels"][0][-2:]) == ["Ġred", "</s>"]


def test_special_tokens_are_added_once() -> None:
    """By the template or by the tokenizer."""
    processor = llava_processor(tokenizer(), MARKED)
    processor.tokenizer.add_bos_token = True
    processor.chat_template = "{{ bos_token }}" + processor.chat_template
    ids = ImageTextCollator(processor)([SHORT])["input_ids"]
    assert (ids == processor.tokenizer.bos_token_id).sum() == 1


def test_images_that_the_processor_does_not_tell_of() -> None:
    """Answers after the last image are found all the same; the others are refused."""
    processor = untold()
    assert learned(processor, ImageTextCollator(processor)([SHORT, TWO])) == [f"red{END}", f" deep blue  sea{END}"]
    with pytest.raises(ValueError, match="rows.jsonl:1: an image stands after an answer"):
        ImageTextCollator(processor)([LONG])


def test_a_suffix_where_there_is_no_template() -> None:
    processor = suffix()
    batch = ImageTextCollator(processor)([SHORT, conversation(("Which is larger?", 1, "deep blue"))])
    assert learned(processor, batch) == ["red</s>", "deep blue</s>"]
    assert torch.equal(batch["token_type_ids"] == 1, batch["labels"] != -100)
    with pytest.raises(ValueError, match="rows.jsonl:1: PaliGemmaProcessor takes one question and its answer"):
        ImageTextCollator(processor)([LONG])


def without_template(processor: Any) -> None:
    processor.chat_template = None


def without_padding(processor: Any) -> None:
    processor.tokenizer.pad_token = None


@pytest.mark.parametrize(
    ("lacking", "message"),
    [(without_template, "LlavaProcessor has no chat template"), (without_padding, "has no token for padding")],
)
def test_what_a_processor_must_have(lacking: Callable[[Any], None], message: str) -> None:
    processor = llava_processor(tokenizer())
    lacking(processor)
    with pytest.raises(ValueError, match=message):
        ImageTextCollator(processor)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{{ messages | length }}", "writes message 1 otherwise in the whole conversation"),
        (MARKED.replace("part['text']", "''"), "leaves out the answer of message 1"),
    ],
)
def test_a_template_that_hides_answers_is_refused(written: str, message: str) -> None:
    processor = llava_processor(tokenizer(), written)
    with pytest.raises(ValueError, match=f"rows.jsonl:1: the chat template {message}"):
        ImageTextCollator(processor)([LONG])


def test_a_placeholder_within_a_text_is_refused() -> None:
    """It would stand for an image that is not there."""
    processor = llava_processor(tokenizer())
    written = conversation(("A <image> in words?", 1, "no"))
    with pytest.raises(ValueError, match="rows.jsonl:1: LlavaProcessor: .*2 <image> tokens and 1 images"):
        ImageTextCollator(processor)([written])
