"""black, in a process of its own: it is imported there while this process imports what renders."""

import os
import signal
from typing import BinaryIO

from codegen.second import let_go

LINE_LENGTH = 120


def black_format(source: str) -> str:
    """What black makes of the source."""
    from black import Mode, format_str  # about 90 ms, needed only where something new is formatted

    return format_str(source, mode=Mode(line_length=LINE_LENGTH))


class Formatter:
    """A child that answers `black_format`; messages are a length of four bytes and a text."""

    def __init__(self) -> None:
        theirs, self._requests = _pipe()
        self._answers, ours = _pipe()
        self._child = os.fork()
        if self._child == 0:
            self._requests.close()  # so that the death of the parent ends the child's input
            self._answers.close()
            _serve(theirs, ours)
        theirs.close()
        ours.close()

    def __call__(self, source: str) -> str:
        """Format in the child; here, if the child cannot (then the error, too, is raised here)."""
        try:
            _send(self._requests, source)
            answer = _receive(self._answers)
        except OSError:
            answer = None
        return black_format(source) if answer is None else answer

    def close(self) -> None:
        """End the child, whatever it is doing."""
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)
        self._answers.close()
        try:
            self._requests.close()
        except BrokenPipeError:
            return  # the child was gone before its last request was


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The child's life: it keeps no stream of the parent open, formats until its input ends, and never returns."""
    try:
        let_go()
        import black as black  # early: the first request comes when the parent has rendered something

        while (source := _receive(requests)) is not None:
            _send(answers, black_format(source))
    finally:
        os._exit(0)


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


def _send(stream: BinaryIO, text: str) -> None:
    data = text.encode()
    stream.write(len(data).to_bytes(4, "big") + data)
    stream.flush()


def _receive(stream: BinaryIO) -> str | None:
    """The next message; None at the end of the stream."""
    head = stream.read(4)
    data = stream.read(int.from_bytes(head, "big"))
    return data.decode() if len(head) == 4 else None
