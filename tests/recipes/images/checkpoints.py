"""Tiny checkpoints of images and text, written by transformers: random weights, a real processor, a tokenizer."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LightOnOcrConfig,
    LightOnOcrForConditionalGeneration,
    LightOnOcrProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PixtralImageProcessorPil,
    PixtralVisionConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

COLOURS = "red green blue yellow white black"
LEARNED = ["USER: What colour is it? ASSISTANT: ", *(f" {colour}" for colour in COLOURS.split())]
SPECIAL = ["<pad>", "<s>", "</s>", "<image>", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<|im_start|>", "<|im_end|>"]
PIECES = {
    "extra_special_tokens": {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
}
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8}
# Two ways to write a turn: with its end marked, and without.
MARKED = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{{ image_token if part['type'] == 'image' else part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OPEN = (
    "{% for message in messages %}{{ message['role'].upper() + ':' }}"
    "{% for part in message['content'] %}"
    "{{ ' ' + (image_token if part['type'] == 'image' else part['text']) }}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def template(text: str, image_token: str) -> str:
    return f"{{% set image_token = '{image_token}' %}}{text}"


def tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """Byte-level, with the merges of a few words: pieces such as `Ġred` reach over the borders of what is written."""
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    pieces.train_from_iterator(LEARNED * 20, trainer)
    given = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"} | options
    return PreTrainedTokenizerFast(tokenizer_object=pieces, additional_special_tokens=SPECIAL[3:], **given)


def llava(folder: Path, chat: str = OPEN) -> Path:
    """CLIP on crops of one size, a projector, Llama."""
    words = tokenizer()
    vision = CLIPVisionConfig(**TOWER, image_size=32)
    text = LlamaConfig(**TEXT, num_key_value_heads=2, vocab_size=len(words), pad_token_id=0)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=words.convert_tokens_to_ids("<image>")
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    llava_processor(words, chat).save_pretrained(folder)
    return folder


def llava_processor(words: PreTrainedTokenizerFast, chat: str = OPEN) -> LlavaProcessor:
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    sizes = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return LlavaProcessor(pixels, words, chat_template=template(chat, "<image>"), **sizes)


def lighton_ocr(folder: Path, chat: str = MARKED) -> Path:
    """Pixtral on images of any size, padded to one; merged patches, a projector, Qwen 3."""
    words = tokenizer(**PIECES)
    text = Qwen3Config(**TEXT, num_key_value_heads=2, head_dim=8, vocab_size=len(words), pad_token_id=0)
    config = LightOnOcrConfig(
        vision_config=PixtralVisionConfig(**TOWER, image_size=64, head_dim=8),
        text_config=text,
        image_token_id=words.convert_tokens_to_ids("[IMG]"),
    )
    torch.manual_seed(0)
    LightOnOcrForConditionalGeneration(config).save_pretrained(folder)
    lighton_ocr_processor(words, chat).save_pretrained(folder)
    return folder


def lighton_ocr_processor(words: PreTrainedTokenizerFast, chat: str = MARKED) -> LightOnOcrProcessor:
    pixels = PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size={"height": 16, "width": 16})
    return LightOnOcrProcessor(pixels, words, patch_size=8, chat_template=template(chat, "[IMG]"))
