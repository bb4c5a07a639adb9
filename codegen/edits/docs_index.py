"""The tables of the documentation's index pages: rows between two marker lines, sorted by their first cell.

Everything outside the markers, and the table's two head lines inside them, belongs to people. So does a row whose page
codegen did not generate.
"""

import re
from collections.abc import Callable, Iterable

from codegen.artifacts import IndexRow
from codegen.errors import Location, Problem, SpecError
from codegen.markdown import escaped

BEGIN = "<!-- codegen: rows begin -->"
END = "<!-- codegen: rows end -->"
_RULE = re.compile(r"\|[ :|-]+\|")
_ROW = re.compile(r"\|\s*\[(?P<title>(?:\\.|[^\]\\])*)\]\((?P<page>[^)\s]*)\)")


def updated(data: bytes, path: str, rows: Iterable[IndexRow], is_gone: Callable[[str], bool]) -> bytes:
    """The index page with exactly one row for each generated model.

    Args:
        data: the page's content.
        path: the page's path, for messages and to find the pages that rows link to.
        rows: rows of this page.
        is_gone: whether the page at a path does not exist, or is a generated one that is being deleted.

    Raises:
        SpecError: the page is not UTF-8, has no pair of markers, or its table has another number of columns.
    """
    text = _decoded(data, path)
    lines = text.splitlines(keepends=True)
    begin, end = _marker(lines, path, BEGIN), _marker(lines, path, END)
    if end < begin + 3 or _RULE.fullmatch(lines[begin + 2].strip()) is None:
        raise _refusal(path, begin + 1, "no table head stands behind this marker", "write the head and its rule there")
    columns = lines[begin + 1].strip().strip("|").count("|") + 1
    newline = "\r\n" if lines[begin].endswith("\r\n") else "\n"
    planned = {row.page: _line(row, path, begin, columns) + newline for row in rows}
    folder = path.rpartition("/")[0]
    foreign = [
        line for line in lines[begin + 3 : end] if _page(line) not in planned and not _stale(line, folder, is_gone)
    ]
    body = sorted([*planned.values(), *foreign], key=lambda line: (_sort_key(line), line))
    return "".join([*lines[: begin + 3], *body, *lines[end:]]).encode()


def _line(row: IndexRow, path: str, begin: int, columns: int) -> str:
    if len(row.cells) + 1 != columns:
        found = f"the table has {columns} columns, but rows have {len(row.cells) + 1}"
        raise _refusal(path, begin + 2, found, "give the head as many columns")
    return "| " + " | ".join([f"[{escaped(row.title)}]({row.page})", *map(escaped, row.cells)]) + " |"


def _page(line: str) -> str | None:
    match = _ROW.match(line.lstrip())
    return match["page"] if match else None


def _sort_key(line: str) -> str:
    match = _ROW.match(line.lstrip())
    return (match["title"] if match else line.strip("| ")).replace("\\", "").casefold()


def _stale(line: str, folder: str, is_gone: Callable[[str], bool]) -> bool:
    page = _page(line)
    return page is not None and re.fullmatch(r"\w+\.md", page) is not None and is_gone(f"{folder}/{page}")


def _decoded(data: bytes, path: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(path, line, "is not UTF-8", "save it as UTF-8") from error


def _marker(lines: list[str], path: str, marker: str) -> int:
    found = [number for number, line in enumerate(lines) if line.strip() == marker]
    if len(found) == 1:
        return found[0]
    where = found[1] + 1 if found else 1
    raise _refusal(path, where, f"the line `{marker}` stands here {len(found)} times", "let it stand once")


def _refusal(path: str, line: int, message: str, cure: str) -> SpecError:
    return SpecError([Problem(Location(path, line, 1), "rows", message, cure)])
