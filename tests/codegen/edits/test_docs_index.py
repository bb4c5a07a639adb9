"""Edits of the documentation's index pages."""

import pytest

from codegen.artifacts import IndexRow
from codegen.edits.docs_index import BEGIN, END, updated
from codegen.errors import SpecError

PATH = "docs/model-coverage/llm/index.md"
PAGE = f"""\
# Models

Above, by hand.

{BEGIN}
| Model | Architecture | Features |
|:------|---|---|
| [Hand](hand.md) | by | hand |
{END}
Below.
"""


def row(name: str, *cells: str) -> IndexRow:
    return IndexRow(PATH, f"{name}.md", name, cells or ("A", "f"))


def nothing_gone(path: str) -> bool:
    return False


def test_rows_are_sorted_and_foreign_text_stays() -> None:
    data = updated(PAGE.encode(), PATH, [row("llama"), row("apertus")], nothing_gone).decode()
    ours = ["| [apertus](apertus.md) | A | f |\n", "| [llama](llama.md) | A | f |\n"]
    lines = data.splitlines(keepends=True)
    assert lines[7:10] == [ours[0], "| [Hand](hand.md) | by | hand |\n", ours[1]]
    assert "".join(line for line in lines if line not in ours) == PAGE
    assert updated(data.encode(), PATH, [row("llama"), row("apertus")], nothing_gone).decode() == data


def test_rows_of_gone_pages_go() -> None:
    data = updated(PAGE.encode(), PATH, [row("llama"), row("apertus")], nothing_gone)
    assert updated(data, PATH, [], lambda path: not path.endswith("/hand.md")) == PAGE.encode()


@pytest.mark.parametrize("text", ["a | b", "[x](y)", "<script>", "a\nb\u2028| c |", "`code`", "\\", "<!-- -->", END])
def test_cells_stay_plain_text_in_one_cell(text: str) -> None:
    data = updated(PAGE.encode(), PATH, [row("llama", text, "f")], nothing_gone).decode()
    assert len(data.split("\n")) == len(PAGE.split("\n")) + 1
    (line,) = [line for line in data.split("\n") if line.startswith("| [llama]")]
    unescaped = [char for place, char in enumerate(line) if char in "|[<`" and line[place - 1] != "\\"]
    assert unescaped == ["|", "[", "|", "|", "|"]
    assert updated(data.encode(), PATH, [row("llama", text, "f")], nothing_gone).decode() == data


@pytest.mark.parametrize(
    ("page", "place", "message"),
    [
        (PAGE.replace(BEGIN, ""), "1:1", "0 times"),
        (PAGE + END, "11:1", "2 times"),
        (PAGE.replace("| Model | Architecture | Features |\n", ""), "5:1", "no table head"),
        (PAGE.replace(" Features |", ""), "6:1", "columns"),
        (f"{END}\n{BEGIN}\n", "2:1", "no table head"),
        ("\n\udcff", "2:1", "UTF-8"),
    ],
)
def test_other_shapes_are_refused_with_their_place(page: str, place: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        updated(page.encode(errors="surrogateescape"), PATH, [row("llama")], nothing_gone)
    (problem,) = caught.value.problems
    assert str(problem.location) == f"{PATH}:{place}"
    assert message in problem.message and problem.cure
