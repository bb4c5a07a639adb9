"""Rows become ids and labels: answers are learned, token for token, whatever writes them."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from transformers import PreTrainedTokenizerFast

from nemo_automodel.recipes.chat import ChatDataset, ChatOptions, Encoder
from tests.recipes.chat.rows import CHATML, END, FORGETFUL, MARKED, OPEN, tokenizer, turns

LONG = turns("One?", "red", "And then?", " blue, blue")


def learned(words: Any, row: dict[str, Any], **options: Any) -> list[str]:
    """What is written where labels are, as stretches."""
    ids, labels = Encoder(words, **{"answers_only": True, **options})(row, "here")
    assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True)) and labels[0] == -100
    text = "".join("\0" if label == -100 else words.decode([label]) for label in labels)
    return [stretch for stretch in text.split("\0") if stretch]


def test_answers_alone_are_learned(words: PreTrainedTokenizerFast) -> None:
    assert learned(words, {"messages": LONG}) == [f"red{END}", f" blue, blue{END}"]
    asked = {"messages": [{"role": "system", "content": "Be short."}, *LONG, *turns("Done?")]}
    assert learned(words, asked) == [f"red{END}", f" blue, blue{END}"]


@pytest.mark.parametrize("template", [CHATML, MARKED, OPEN])
def test_the_ids_are_those_of_the_template(template: str) -> None:
    words = tokenizer(template)
    text = words.apply_chat_template(LONG, tokenize=False).rstrip()
    ids, _ = Encoder(words, True)({"messages": LONG}, "here")
    assert words.decode(ids).rstrip() == (text + "<eos>" if template is OPEN else text)


def test_a_template_that_marks_answers_is_believed() -> None:
    words = tokenizer(MARKED)
    assert learned(words, {"messages": LONG}) == learned(tokenizer(CHATML), {"messages": LONG})
    row = {"prompt": LONG[:3], "completion": LONG[3:]}
    assert learned(words, row) == learned(tokenizer(CHATML), row) == [f" blue, blue{END}"]


def test_an_answer_that_no_token_ends_is_ended() -> None:
    assert learned(tokenizer(OPEN), {"messages": LONG})[-1].endswith("blue<eos>")


def test_prompt_and_completion_as_texts_are_written_around_by_nothing(words: PreTrainedTokenizerFast) -> None:
    words.chat_template = None
    row = {"prompt": "2 + 2 =", "completion": " 4"}
    ids, _ = Encoder(words, True)(row, "here")
    assert words.decode(ids) == "2 + 2 = 4<eos>" and learned(words, row) == [" 4<eos>"]
    assert learned(words, {**row, "completion": " 4<eos>"}) == [" 4<eos>"]


def test_without_answers_only_all_but_the_first_token_is_learned(words: PreTrainedTokenizerFast) -> None:
    text = words.apply_chat_template(LONG, tokenize=False).rstrip()
    assert learned(words, {"messages": LONG}, answers_only=False) == [text.removeprefix("<|im_start|>")]


def test_tools_are_shown_and_nulls_are_not(words: PreTrainedTokenizerFast) -> None:
    """Tables have every key in every row; templates ask whether one is there."""
    tools = [{"name": "add", "unit": None}]
    words.chat_template = CHATML + "{% if messages[0].thought is defined %}!{% endif %}"
    row = {"messages": [{**message, "thought": None} for message in LONG]}
    for said in (tools, json.dumps(tools)):
        ids, _ = Encoder(words, True)({**row, "tools": said}, "here")
        assert words.decode(ids).startswith('[[{"name": "add"}]]<|im_start|>') and "!" not in words.decode(ids)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ""])
def test_files_and_folders_give_the_same(suffix: str, rows: Path, words: PreTrainedTokenizerFast) -> None:
    wanted = ChatDataset(str(rows), words, ChatOptions()).rows.to_list()
    other, read = rows.with_suffix(suffix), [json.loads(line) for line in rows.read_text().splitlines()]
    if suffix == ".json":
        other.write_text(json.dumps(read))
    elif suffix == ".parquet":
        Dataset.from_list(read).to_parquet(other)
    elif not suffix:
        other.mkdir()
        Dataset.from_list(read).to_parquet(other / "train.parquet")
    assert ChatDataset(str(other), words, ChatOptions()).rows.to_list() == wanted and len(wanted) == 7


def test_what_is_cut_is_told(rows: Path, words: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ChatDataset(str(rows), words, ChatOptions())
    assert capsys.readouterr().err == ""
    cut = ChatDataset(str(rows), words, ChatOptions(max_length=50))
    assert "7 of 7 examples are cut to chat.max_length 50\n" in capsys.readouterr().err
    assert [row["labels"] for row in cut.rows] == [row["labels"][:50] for row in whole.rows]
    extra = {"messages": turns("?" * 90, "too late")}
    rows.write_text(f"{rows.read_text()}\n{json.dumps(extra)}")
    assert len(ChatDataset(str(rows), words, ChatOptions(max_length=90))) == 7
    assert "1 of 8 examples are cut to chat.max_length 90, and 1 of them without any answer" in capsys.readouterr().err
    with pytest.raises(ValueError, match="rows.jsonl: 8 of 8 examples are cut to chat.max_length 8, and 8 of them"):
        ChatDataset(str(rows), words, ChatOptions(max_length=8))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", ":1: not JSON"),
        ("3", ":1: expected messages, a list, or prompt and completion, two texts or two lists"),
        ({"prompt": "a"}, ":1: expected messages, a list, or prompt and completion"),
        ({"prompt": "a", "completion": []}, ":1: expected messages, a list, or prompt and completion"),
        ({"messages": ["a"]}, ":1: expected a message with role and content, got 'a'"),
        ({"messages": [{"content": "a"}]}, ":1: expected a message with role and content"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, ":1: .* images need an ImageTextDataset"),
        ({"messages": turns("a")}, ":1: has no answer of the assistant: nothing of it would be learned"),
        ({"messages": []}, ":1: has no answer of the assistant"),
        ({"messages": turns("a", "b"), "tools": "{"}, ":1: tools: not JSON"),
        ("", ": has no rows"),
    ],
)
def test_a_bad_row_is_named(row: Any, message: str, tmp_path: Path, words: PreTrainedTokenizerFast) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(row if isinstance(row, str) else json.dumps(row))
    with pytest.raises(ValueError, match=f"bad.jsonl{message}"):
        ChatDataset(str(path), words, ChatOptions())


def test_what_a_template_cannot_tell_is_told(words: PreTrainedTokenizerFast) -> None:
    words.chat_template = FORGETFUL
    row = {"messages": turns("a", "<think>hm</think>b", "c", "d")}
    with pytest.raises(ValueError, match="here: .*message 1 otherwise.*split .* or name a template with {% generation"):
        Encoder(words, True)(row, "here")
    words.chat_template = None
    with pytest.raises(ValueError, match="the tokenizer has no chat template: name a file with one in chat.template"):
        Encoder(words, True)(row, "here")


def test_a_table_that_is_not_there(words: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="path: .*/none: no file, folder or data set of the hub can be read there"):
        ChatDataset(str(tmp_path / "none"), words, ChatOptions())
    with pytest.raises(ValueError, match="split: would be ignored: .* is one file"):
        ChatDataset("rows.jsonl", words, ChatOptions(), split="train")
    (tmp_path / "bad.json").write_text("[{")
    with pytest.raises(ValueError, match="path: .*bad.json: no file, folder"):
        ChatDataset(str(tmp_path / "bad.json"), words, ChatOptions())
