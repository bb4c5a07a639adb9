"""black, in a process of its own: it is imported there while others plan and import what renders."""

import ast
from collections.abc import Callable, Sequence

from codegen.memory.child import Worker

LINE_LENGTH = 120
DISPLAYED = (ast.Assign, ast.Name, ast.expr_context, ast.Dict, ast.List, ast.Constant, ast.UnaryOp, ast.unaryop)
IDLE = 10  # on two processors, those that plan and render are waited for first


Formatting = Callable[[Sequence[str]], list[str]]


def black_format(sources: Sequence[str]) -> list[str]:
    """What black makes of statements, each where its indentation says that it stands.

    black formats all that it changed a second time, because commas that it added change how lines are broken then.
    Where it added none, the second pass sees the same tokens and comes to the same text: it is left out.
    """
    once = _formatted_once(sources)
    again = [n for n, source in enumerate(sources) if not is_last_pass(source, once[n])]
    for n, text in zip(again, _formatted_once([once[n] for n in again]), strict=True):
        once[n] = text
    return once


def _formatted_once(sources: Sequence[str]) -> list[str]:
    """One pass over all. Statements of one indentation are one text, in which a comment stands before each."""
    import black  # about 90 ms, needed only where something new is formatted
    from black.mode import TargetVersion

    mode = black.Mode(line_length=LINE_LENGTH, target_versions={TargetVersion.PY311})
    once = getattr(black, "_format_str_once", None) or black.format_str
    made = [""] * len(sources)
    for indentation in sorted({_indentation(source) for source in sources}):
        here = [n for n, source in enumerate(sources) if _indentation(source) == indentation]
        mark = f"{indentation}#:{hash(tuple(sources))}\n"  # which no source holds: it cannot hold its own hash
        blocks = "".join(f"{indentation[:4 * depth]}if 1:\n" for depth in range(len(indentation) // 4))
        text: str = once(blocks + "".join(f"{mark}{sources[n]}\n" for n in here), mode=mode)
        for n, piece in zip(here, text.split(mark)[1:], strict=True):
            made[n] = piece.strip("\n")
    return made


def _indentation(source: str) -> str:
    return source[: len(source) - len(source.lstrip(" "))]


def is_last_pass(source: str, formatted: str) -> bool:
    """Whether black would change nothing more: it added no comma, or none but in displays of constants."""
    return _tokens(source) == _tokens(formatted) or _is_display(formatted)


def _tokens(source: str) -> str:
    """The source without what black changes and reads alike: white space, and which quotes a text stands in."""
    return "".join(source.split()).replace("'", '"')


def _is_display(source: str) -> bool:
    """Whether this assigns a display of constants: a comma at the end of one that is broken says that it is broken."""
    try:
        (node,) = ast.parse(source.lstrip(" ")).body
    except (SyntaxError, ValueError):
        return False
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Dict | ast.List)
        and all(isinstance(child, DISPLAYED) for child in ast.walk(node))
    )


class Formatter:
    """A child that answers `black_format`."""

    def __init__(self) -> None:
        self._worker = Worker(_import_black, black_format, patience=IDLE)

    def __call__(self, sources: Sequence[str]) -> list[str]:
        """Format in the child; here, if the child cannot (then the error, too, is raised here)."""
        try:
            self._worker.ask(sources)
            return self._worker.answer()
        except (BrokenPipeError, EOFError):
            return black_format(sources)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._worker.close()


def _import_black() -> None:
    """Early: the first request comes when the parent has rendered something."""
    import black as black
