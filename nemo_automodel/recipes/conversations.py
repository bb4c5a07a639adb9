"""Conversations as one text each, by a chat template, and which characters of it answers are."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

MARKED = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")  # templates that mark answers themselves
SPLIT = "split the conversation into examples"


@dataclass(frozen=True)
class Written:
    """A conversation as one text, and which characters [start, end) of it answers are."""

    text: str
    answers: list[tuple[int, int]]


class Writer:
    """Messages -> `Written`, by a chat template.

    An answer is what the template writes after its prompt for one, up to the token that ends the turn. Where a template
    ends the last answer with no special token, the tokenizer's end-of-sequence token does.

    render: (messages, **options) -> text; of the options, `add_generation_prompt` asks for the prompt for an answer.
    cure: what helps where an answer cannot be told.
    """

    def __init__(self, tokenizer: Any, render: Callable[..., str], cure: str = SPLIT) -> None:
        special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        self.render, self.end, self.cure = render, tokenizer.eos_token, cure
        self.special = (*special, *tokenizer.all_special_tokens)

    def __call__(self, messages: list[dict[str, Any]], where: str, **options: Any) -> Written:
        """Raises ValueError where it cannot be told what the template writes for an answer."""
        whole, answers = self.render(messages, **options), []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self.render(messages[:index], add_generation_prompt=True, **options)
            after = self.render(messages[: index + 1], **options).rstrip()
            if not (after.startswith(before) and whole.startswith(after)):
                raise ValueError(
                    f"{where}: the chat template writes message {index} otherwise in the whole conversation "
                    f"than alone: what is its answer cannot be told; {self.cure}"
                )
            if texts(message.get("content")).strip() not in after[len(before) :]:
                raise ValueError(f"{where}: the chat template leaves out the answer of message {index}")
            answers.append((len(before), len(after)))
        closed = bool(messages) and messages[-1]["role"] == "assistant"
        return self._ended(whole.rstrip(), answers) if closed else Written(whole, answers)

    def _ended(self, text: str, answers: list[tuple[int, int]]) -> Written:
        if self.end is None or text.endswith(self.special):
            return Written(text, answers)
        text += self.end
        return Written(text, [*answers[:-1], (answers[-1][0], len(text))])


def texts(content: Any) -> str:
    """What is written in a message: a text, or parts, of which some are none."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part["type"] == "text")
