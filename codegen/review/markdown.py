"""Small pieces of Markdown, in which whatever a spec says stays text."""

import re
from collections.abc import Iterable, Iterator, Sequence


def code(text: object) -> str:
    """Text as it is, on one line; a table may hold it."""
    shown = " ".join(str(text).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence, space = "`" * (longest + 1), " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{space}{shown}{space}{fence}" if shown else ""


def codes(texts: Iterable[object]) -> str:
    """Several of them, in a sentence."""
    return ", ".join(map(code, texts))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, with an empty line behind it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def folded(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines that are seen on request."""
    yield from ("<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", "")
