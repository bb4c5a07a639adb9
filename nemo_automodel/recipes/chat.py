"""Chat data for the recipes: conversations become tokens, of which answers are learned, by the tokenizer's template."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_automodel.recipes.conversations import MARKED, Writer, Written
from nemo_automodel.recipes.data import json_rows
from nemo_automodel.recipes.mistakes import RecipeError, near_file, refuse, unknown
from nemo_automodel.recipes.values import misfits

IGNORED = -100  # what losses of transformers leave out
BUILDERS = {".json": "json", ".parquet": "parquet"}  # of `datasets`, by what a file is called
CURE = "split the conversation into examples, or name a template with {% generation %} marks in chat.template"


@dataclass(frozen=True)
class ChatOptions:
    """The section `chat`.

    Attributes:
        template: a file with a chat template (Jinja) in place of the tokenizer's; it is saved with the tokenizer.
        answers_only: the loss is on answers alone; else on all that is written.
        max_length: tokens of an example, or with `packing` of a row of several; what is longer is cut.
        packing: rows are filled with several examples, which do not see each other.
    """

    template: str | None = None
    answers_only: bool = True
    max_length: int = 1024
    packing: bool = False


def chat_options(recipe: dict[str, Any]) -> ChatOptions:
    """The section `chat`, or what holds without one.

    Raises:
        RecipeError: a field does not exist or does not fit, or a package that chat data need is not installed.
    """
    section = recipe.get("chat", {})
    refuse(unknown("chat", section, ChatOptions.__dataclass_fields__, "it") or misfits("chat", section, ChatOptions))
    options = ChatOptions(**section)
    if options.max_length < 2:
        raise RecipeError(f"chat.max_length: expected 2 or more, got {options.max_length}")
    file = Path(options.template or ".")
    if options.template is not None and not file.is_file():
        raise RecipeError(f"chat.template: there is no file {options.template}{near_file(file)}")
    if find_spec("trl") is None:
        raise RecipeError("dataset: chat data need the package trl, which is not installed; run: pip install trl")
    return options


def with_template(tokenizer: Any, options: ChatOptions) -> Any:
    """The tokenizer, with the template that the section names."""
    if options.template is not None:
        tokenizer.chat_template = Path(options.template).read_text(encoding="utf-8")
    return tokenizer


class ChatDataset:
    """Conversations of a file or of the hub, as ids and labels: ids of answers, -100 elsewhere.

    path: a file of JSON lines (.jsonl), of JSON or Parquet, a folder of such, or the name of a data set of the hub;
    subset and split say what of it. A row has `messages` as chat templates take them, and maybe `tools`; or `prompt`
    and `completion`, both messages, or both texts that no template is written around: the completion is the answer.

    Attributes:
        rows: `datasets.Dataset` with `input_ids` and `labels`, lists of at most `chat.max_length` numbers each.

    Raises:
        ValueError: with the row, where it is none of these or its answers cannot be told; there are no rows, or the
            tokenizer is none that can be used.
    """

    takes_images = False

    def __init__(
        self, path: str, tokenizer: Any, chat: ChatOptions, split: str | None = None, subset: str | None = None
    ) -> None:
        from datasets import Dataset

        encode = Encoder(tokenizer, chat.answers_only)
        cut = Cut(chat.max_length)
        examples = [cut(encode(row, where)) for where, row in _rows(path, split, subset)]
        kept = [example for example in examples if (example[1] != IGNORED).any()]
        if not kept:
            raise ValueError(f"{path}: {cut.told(len(examples), 0)}" if examples else f"{path}: has no rows")
        if cut.count:
            print(f"{path}: {cut.told(len(examples), len(kept))}", file=sys.stderr)
        self.rows = Dataset.from_dict(
            dict(zip(("input_ids", "labels"), map(list, zip(*kept, strict=True)), strict=True))
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self.rows[index]


class Cut:
    """Cuts examples to a length, and counts them."""

    def __init__(self, length: int) -> None:
        self.length, self.count = length, 0

    def __call__(self, example: tuple[NDArray[Any], NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
        self.count += len(example[0]) > self.length
        return example[0][: self.length], example[1][: self.length]

    def told(self, read: int, kept: int) -> str:
        lost = f", and {read - kept} of them without any answer in it are left out" if kept < read else ""
        return f"{self.count} of {read} examples are cut to chat.max_length {self.length}{lost}"


class Encoder:
    """A row -> (ids [S], labels [S]), int32.

    Raises:
        ValueError: the tokenizer does not tell where its tokens stand in a text.
    """

    def __init__(self, tokenizer: Any, answers_only: bool) -> None:
        if not tokenizer.is_fast:
            raise ValueError(f"{type(tokenizer).__name__} does not tell where its tokens stand: take a fast tokenizer")
        self.tokenizer, self.answers_only = tokenizer, answers_only
        self.write = Writer(tokenizer, self._rendered, CURE)

    def __call__(self, row: Any, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Raises ValueError, with `where`, for a row that is no conversation or has no answer."""
        ids, learned = map(np.asarray, self._encoded(row, where))
        if not learned.any():
            raise ValueError(f"{where}: has no answer of the assistant: nothing of it would be learned")
        if not self.answers_only:
            learned[:] = True
        learned[:1] = False  # nothing foretells it: packed or alone, as many are learned
        return ids.astype(np.int32), np.where(learned, ids, IGNORED).astype(np.int32)

    def _encoded(self, row: Any, where: str) -> tuple[list[int], list[bool]]:
        prompt, completion, messages = _parts(row, where)
        if isinstance(prompt, str):
            return self._of_text(self._joined(prompt, completion), add_special_tokens=True)
        if self.tokenizer.chat_template is None:
            raise ValueError("the tokenizer has no chat template: name a file with one in chat.template")
        tools = _tools(row, where)
        if MARKED.search(self._template(tools)):
            return self._of_marks(messages, prompt, tools)
        written = self.write(messages, where, tools=tools)
        answered = sum(message["role"] == "assistant" for message in prompt)
        return self._of_text(Written(written.text, written.answers[answered:]), add_special_tokens=False)

    def _joined(self, prompt: str, completion: str) -> Written:
        end = self.tokenizer.eos_token or ""
        text = prompt + completion.removesuffix(end) + end
        return Written(text, [(len(prompt), len(text))])

    def _of_text(self, written: Written, **options: Any) -> tuple[list[int], list[bool]]:
        """Its tokens, and which have a character of an answer."""
        encoded = self.tokenizer(written.text, return_offsets_mapping=True, **options)
        offsets = np.asarray(encoded["offset_mapping"]).reshape(-1, 2)
        inside = [(offsets[:, 0] < last) & (offsets[:, 1] > first) for first, last in written.answers]
        return encoded["input_ids"], np.any(inside, axis=0) if inside else np.zeros(len(offsets), bool)

    def _of_marks(self, messages: list[Any], prompt: list[Any], tools: Any) -> tuple[list[int], list[bool]]:
        """By a template that marks answers itself; those of a prompt are none."""
        apply = self.tokenizer.apply_chat_template
        encoded = apply(messages, tools=tools, return_dict=True, return_assistant_tokens_mask=True)
        learned = np.asarray(encoded["assistant_masks"], bool)
        if prompt:
            learned[: len(apply(prompt, tools=tools, return_dict=True, add_generation_prompt=True)["input_ids"])] = (
                False
            )
        return encoded["input_ids"], learned

    def _rendered(self, messages: list[dict[str, Any]], **options: Any) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False, **options) if messages else ""

    def _template(self, tools: Any) -> str:
        return self.tokenizer.get_chat_template(tools=tools)


def _rows(path: str, split: str | None, subset: str | None) -> Iterator[tuple[str, Any]]:
    """(where it stands, row). A file of lines is read as it is: its rows need not have the same keys."""
    if Path(path).suffix == ".jsonl":
        if split or subset:
            raise ValueError(f"split: would be ignored: {path} is one file; leave out split and subset")
        yield from json_rows(Path(path))
        return
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    builder = BUILDERS.get(Path(path).suffix)
    file = {"path": builder, "data_files": path} if builder else {"path": path}
    try:
        loaded = load_dataset(**file, name=subset, split=split or "train")
    except (DatasetsError, ValueError, OSError) as error:
        said = " ".join(str(error.__cause__ or error).split())
        raise ValueError(f"path: {path}: no file, folder or data set of the hub can be read there: {said}") from error
    yield from ((f"{path}: row {number}", row) for number, row in enumerate(loaded))


def _parts(row: Any, where: str) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Prompt and completion, two texts; else messages, those of the prompt (maybe none) first."""
    prompt, completion, messages = (row.get(name) if isinstance(row, dict) else None for name in KEYS)
    if isinstance(prompt, str) and isinstance(completion, str) and messages is None:
        return prompt, completion, []
    if isinstance(prompt, list) and isinstance(completion, list) and messages is None:
        before = [_message(message, where) for message in prompt]
        return before, None, before + [_message(message, where) for message in completion]
    if not isinstance(messages, list) or prompt is not None or completion is not None:
        raise ValueError(f"{where}: expected messages, a list, or prompt and completion, two texts or two lists")
    return [], None, [_message(message, where) for message in messages]


KEYS = ("prompt", "completion", "messages")


def _message(message: Any, where: str) -> dict[str, Any]:
    """Without keys that are null: a table has every key in every row, and templates ask whether one is there."""
    content = message.get("content") if isinstance(message, dict) else 0
    parts = content if isinstance(content, list) else []
    if not isinstance(content, str | list | None) or not isinstance(message.get("role"), str):
        raise ValueError(f"{where}: expected a message with role and content, got {message!r:.80}")
    if any(not isinstance(part, dict) or part.get("type") != "text" for part in parts):
        raise ValueError(f"{where}: a message has parts that are no text; images need an ImageTextDataset")
    return _without_null(message)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def _tools(row: dict[str, Any], where: str) -> Any:
    """What may be called: a list, or the JSON of one."""
    tools = row.get("tools") or None
    try:
        return _without_null(json.loads(tools) if isinstance(tools, str) else tools)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: tools: not JSON: {error}") from error
