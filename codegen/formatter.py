"""black, in a second process: it is imported there while this process imports what renders."""

import os
import pickle
import signal
from collections.abc import Callable
from typing import Any, BinaryIO

from codegen.second import let_go

LINE_LENGTH = 120


def black_format(source: str) -> str:
    """What black makes of the source."""
    from black import Mode, format_str  # about 90 ms, needed only where something new is formatted

    return format_str(source, mode=Mode(line_length=LINE_LENGTH))


class Formatter:
    """A child that does one piece of work first and then answers `black_format`.

    Messages are pickles, of what this program made itself: both ends are the same process, forked.
    """

    def __init__(self, first: Callable[[], Any] | None = None) -> None:
        theirs, self._requests = _pipe()
        self._answers, ours = _pipe()
        self._child = os.fork()
        if self._child == 0:
            self._requests.close()  # so that the death of the parent ends the child's input
            self._answers.close()
            _serve(first, theirs, ours)
        theirs.close()
        ours.close()
        self._owes_first = first is not None

    def first(self) -> Any:
        """The result of the first piece of work; None if the child could not do it."""
        self._owes_first = False
        try:
            return pickle.load(self._answers)
        except EOFError:
            return None

    def __call__(self, source: str) -> str:
        """Format in the child; here, if the child cannot (then the error, too, is raised here)."""
        if self._owes_first:
            self.first()
        try:
            _send(self._requests, source)
            return pickle.load(self._answers)
        except (BrokenPipeError, EOFError):
            return black_format(source)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._answers.close()
        try:
            self._requests.close()
        except BrokenPipeError:
            return  # the child was gone before its last request was


def _serve(first: Callable[[], Any] | None, requests: BinaryIO, answers: BinaryIO) -> None:
    """The child's life: it keeps no stream of the parent open, works until its input ends, and never returns."""
    try:
        let_go()
        if first is not None:
            _send(answers, first())
        import black as black  # early: the first request comes when the parent has rendered something

        while True:
            _send(answers, black_format(pickle.load(requests)))
    finally:
        os._exit(0)


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


def _send(stream: BinaryIO, message: Any) -> None:
    pickle.dump(message, stream)
    stream.flush()
