"""What can go wrong, and where: every message names the file, the line, the key and the cure."""

from dataclasses import dataclass

from codegen.frozen import Frozen


@dataclass(frozen=True, order=True)
class Location:
    """A place in a file that a person wrote; line and column count from one."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Problem(Frozen):
    """One thing wrong with a spec. `path` is the dotted key, `cure` what to write instead (may be empty)."""

    location: Location
    path: str
    message: str
    cure: str = ""

    def __str__(self) -> str:
        text = f"{self.location}: {self.path}: {self.message}" if self.path else f"{self.location}: {self.message}"
        return f"{text}; {self.cure}" if self.cure else text


class CodegenError(Exception):
    """Base of the errors that end a command with a message instead of a traceback."""


class SpecError(CodegenError):
    """Invalid specs; carries every problem, in file order. Exit code 2."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.location)
        super().__init__("\n".join(map(str, self.problems)))


class DriftError(CodegenError):
    """Generated files do not equal what the specs say. Exit code 1."""


class ConflictError(CodegenError):
    """A file stands in the way that the generator does not own. Exit code 3."""
