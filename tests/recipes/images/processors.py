"""Processors of transformers that need no torchvision, over the tests' tokenizer; by what they do to a text."""

from collections.abc import Callable
from typing import Any

from transformers import (
    AriaImageProcessorPil,
    AriaProcessor,
    Gemma3ImageProcessorPil,
    Gemma3Processor,
    GotOcr2ImageProcessorPil,
    GotOcr2Processor,
    Idefics2ImageProcessorPil,
    Idefics2Processor,
    JanusImageProcessorPil,
    JanusProcessor,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    PaliGemmaProcessor,
    ProcessorMixin,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    SiglipImageProcessorPil,
)

from tests.recipes.images.checkpoints import (
    MARKED,
    PIECES,
    lighton_ocr_processor,
    llava_processor,
    template,
    tokenizer,
)

SQUARE = {"height": 32, "width": 32}
AROUND = {"extra_special_tokens": {"image_token": "<image>", "boi_token": "[IMG]", "eoi_token": "[IMG_END]"}}


class WithoutVideos(Qwen2VLProcessor):
    """Those of videos need torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: str) -> None:
        self.image_token, self.image_token_id = "<image>", tokenizer.convert_tokens_to_ids("<image>")
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def any_size() -> ProcessorMixin:
    """So many patches as a picture has."""
    pixels = Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=4 * 28 * 28)
    return WithoutVideos(pixels, tokenizer(), chat_template=template(MARKED, "<image>"))


def tiles() -> ProcessorMixin:
    pixels = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size=SQUARE, image_grid_pinpoints=[[32, 64], [64, 32]]
    )
    sizes = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return LlavaNextProcessor(pixels, tokenizer(), chat_template=template(MARKED, "<image>"), **sizes)


def untold() -> ProcessorMixin:
    """Does not tell how it writes images."""
    pixels = Idefics2ImageProcessorPil(do_image_splitting=True, size={"longest_edge": 64, "shortest_edge": 32})
    return Idefics2Processor(pixels, tokenizer(), image_seq_len=3, chat_template=template(MARKED, "<image>"))


def in_one_list() -> ProcessorMixin:
    """Takes the images of all texts in one list."""
    pixels = GotOcr2ImageProcessorPil(size=SQUARE)
    return GotOcr2Processor(pixels, tokenizer(), chat_template=template(MARKED, "<img><imgpad></img>"))


def types_of_tokens() -> ProcessorMixin:
    pixels = Gemma3ImageProcessorPil(size=SQUARE)
    return Gemma3Processor(pixels, tokenizer(**AROUND), image_seq_length=4, chat_template=template(MARKED, "[IMG]"))


def more_before() -> ProcessorMixin:
    """Writes something before the text."""
    pixels = JanusImageProcessorPil(size=SQUARE)
    return JanusProcessor(pixels, tokenizer(**AROUND), chat_template=template(MARKED, "<image>"))


def masks() -> ProcessorMixin:
    words, sizes = tokenizer(extra_special_tokens={"image_token": "<image>"}), {490: 3, 980: 5}
    return AriaProcessor(
        AriaImageProcessorPil(), words, size_conversion=sizes, chat_template=template(MARKED, "<image>")
    )


def suffix() -> ProcessorMixin:
    """Has no chat template."""
    pixels = SiglipImageProcessorPil(size=SQUARE)
    pixels.image_seq_length = 4
    return PaliGemmaProcessor(pixels, tokenizer())


PROCESSORS: dict[str, Callable[[], ProcessorMixin]] = {
    "one size": lambda: llava_processor(tokenizer(), MARKED),
    "padded": lambda: lighton_ocr_processor(tokenizer(**PIECES)),
    "any size": any_size,
    "tiles": tiles,
    "in one list": in_one_list,
    "types of tokens": types_of_tokens,
    "more before": more_before,
    "masks": masks,
}
