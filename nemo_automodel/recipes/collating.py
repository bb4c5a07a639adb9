"""Examples of images and text to batches, by the processor of the checkpoint; the loss is on answers alone."""

from collections.abc import Sequence
from inspect import signature
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from nemo_automodel.recipes.conversations import Writer, Written, texts
from nemo_automodel.recipes.images import Example

IGNORED = -100  # what losses of transformers leave out
EXPANDED = "text_replacement_offsets"  # what a processor says of the places of images: their text before and after


class ImageTextCollator:
    """`Example`s -> what the model takes, with `labels` [B, S]: ids of answers, -100 elsewhere.

    `Writer` says what answers are. Processors that have no chat template and take a `suffix` (PaliGemma's) get it.

    Raises:
        ValueError: the processor has neither, or its tokenizer does not tell where its tokens stand in a text or has no
            token for padding.
    """

    def __init__(self, processor: Any) -> None:
        name, tokenizer = type(processor).__name__, processor.tokenizer
        self.takes_suffix = processor.chat_template is None and _takes_suffix(processor)
        if processor.chat_template is None and not self.takes_suffix:
            raise ValueError(f"{name} has no chat template: put a chat_template.jinja beside the checkpoint")
        if not tokenizer.is_fast:
            raise ValueError(f"{type(tokenizer).__name__} does not tell where its tokens stand: take a fast tokenizer")
        if tokenizer.pad_token is None:
            raise ValueError(f"{type(tokenizer).__name__} has no token for padding: name a pad_token in its config")
        self.processor = processor
        self.write = Writer(tokenizer, self._rendered)

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        return self._with_suffixes(examples) if self.takes_suffix else self._by_template(examples)

    def _by_template(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        written = [self.write(example.messages, example.where) for example in examples]
        begin = self.processor.tokenizer.bos_token
        begun = begin is not None and written[0].text.startswith(begin)
        batch = self._processed(
            examples,
            text=[one.text for one in written],
            add_special_tokens=not begun,
            return_offsets_mapping=True,
            return_text_replacement_offsets=True,
        )
        offsets = batch.pop("offset_mapping")
        expanded = batch.pop(EXPANDED, None)
        labels = torch.full_like(batch["input_ids"], IGNORED)
        for row, (example, one) in enumerate(zip(examples, written, strict=True)):
            growth = None if expanded is None else [_growth(replaced) for replaced in expanded[row]]
            for start, end in self._tokens(one, offsets[row], growth, example.where):
                labels[row, start:end] = batch["input_ids"][row, start:end]
        return {**batch, "labels": labels}

    def _processed(self, examples: Sequence[Example], **texts: Any) -> dict[str, Any]:
        """What the processor makes of a batch; it says itself what does not fit. Most take a list of images for each
        text, and a few (GOT-OCR's) one list for all texts, which others divide by the places in them."""
        images = [example.images for example in examples]
        options = {"padding": True, "return_tensors": "pt", **texts}
        if not any(images):
            return dict(self.processor(**options))
        try:
            return dict(self.processor(images=images, **options))
        except ValueError as error:
            try:
                return dict(self.processor(images=list(chain(*images)), **options))
            except ValueError:
                places = ", ".join(example.where for example in examples)
                raise ValueError(f"{places}: {type(self.processor).__name__}: {error}") from error

    def _rendered(self, messages: list[dict[str, Any]], **options: Any) -> str:
        return self.processor.apply_chat_template(messages, tokenize=False, **options)

    def _tokens(self, written: Written, offsets: Tensor, growth: list[int] | None, where: str) -> list[tuple[int, int]]:
        """The tokens [first, last) of each answer. Processors write more at the places of images, and some before the
        text, so characters are counted from its end. growth: of each image's place, in characters."""
        end, image = int(offsets.max()), self.processor.image_token
        found = []
        for answer in written.answers:
            later = written.text.count(image, answer[1])
            if later and growth is None:
                raise ValueError(
                    f"{where}: an image stands after an answer, and {type(self.processor).__name__} does not tell how "
                    "it writes images: split the conversation into examples"
                )
            shift = end - len(written.text) - sum(growth[-later:] if later else ())
            first, last = (place + shift for place in answer)
            inside = ((offsets[:, 0] < last) & (offsets[:, 1] > first)).nonzero()[:, 0]
            found.append((int(inside[0]), int(inside[-1]) + 1))
        return found

    def _with_suffixes(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A question and its answer each; the processor says which types of tokens an answer has."""
        for example in examples:
            if [message["role"] for message in example.messages] != ["user", "assistant"]:
                raise ValueError(f"{example.where}: {type(self.processor).__name__} takes one question and its answer")
        image = self.processor.image_token
        asked = [example.messages[0]["content"] for example in examples]
        prompts = ["".join(image if part["type"] == "image" else part["text"] for part in parts) for parts in asked]
        answers = [texts(example.messages[1]["content"]) for example in examples]
        batch = self._processed(examples, text=prompts, suffix=answers)
        return {**batch, "labels": batch["labels"].masked_fill(batch["attention_mask"] == 0, IGNORED)}


def _growth(replaced: dict[str, Any]) -> int:
    """By how many characters a place of an image became longer."""
    (start, end), (new_start, new_end) = replaced["span"], replaced["new_span"]
    return (new_end - new_start) - (end - start)


def _takes_suffix(processor: Any) -> bool:
    """Whether a processor takes answers beside questions: as an argument, in older releases as one of a text."""
    of_text = processor.valid_processor_kwargs.__annotations__.get("text_kwargs")
    return "suffix" in signature(processor.__call__).parameters or "suffix" in getattr(of_text, "__annotations__", ())
