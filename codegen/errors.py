"""What can go wrong, and where: every message names the file, the line, the key and the cure."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from codegen.frozen import Frozen

T = TypeVar("T")
_WORD = re.compile(r"[\w.*+-]+")
UNPROVABLE = 4  # exit code of a search that has nothing to prove a spec by; `codegen new` drafts it then
_SHOWN = 80  # characters of a value that a message repeats


@dataclass(frozen=True, order=True)
class Location:
    """A place in a file that a person wrote; line and column count from one."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def shown(value: object) -> str:
    """A value as a message repeats it: its beginning, where it is long."""
    return cut(repr(value))


def cut(text: str) -> str:
    """The beginning of a text that a message repeats."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def dotted(*parts: object) -> str:
    """The path of a key in a message, e.g. `attention.kind`; a key that is no word is quoted, without a colon."""
    return ".".join(
        cut(text) if _WORD.fullmatch(text := str(part)) else shown(part).replace(":", "?") for part in parts
    )


class Problem(Frozen):
    """One thing wrong with a spec. `path` is the dotted key, or `file` for all of it; `cure` is what to do instead."""

    location: Location
    path: str
    message: str
    cure: str

    def __str__(self) -> str:
        return f"{self.location}: {self.path}: {self.message}; {self.cure}"


class CodegenError(Exception):
    """Base of the errors that end a command with a message instead of a traceback."""


class NoLibraryError(CodegenError):
    """The library, with which proofs are run, is not installed."""


class NoReferenceError(CodegenError):
    """transformers has no class of a model, so that a draft of its spec can be made, and nothing can prove it."""


class SpecError(CodegenError):
    """Invalid specs; carries every problem, in file order. Exit code 2."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.location)
        super().__init__("\n".join(map(str, self.problems)))

    @property
    def lacking(self) -> tuple[str, ...]:
        """The same where it is what has no template yet: keys, with what it is about them."""
        said = ((one.path, one.message.removeprefix("no template yet").removeprefix(" for ")) for one in self.problems)
        return tuple(f"{path}: {message}" if message else path for path, message in said)


def attempt(step: Callable[[], T], otherwise: T, problems: dict[Problem, None]) -> T:
    """What a step makes; where it cannot, its problems are collected, and the next steps go on."""
    try:
        return step()
    except SpecError as error:
        problems.update(dict.fromkeys(error.problems))
        return otherwise


class ConflictError(CodegenError):
    """A file stands in the way that the generator does not own. Exit code 3."""
