"""black, in a process of its own: it is imported there while others plan and import what renders."""

import gc
import os
import pickle
import signal
from typing import BinaryIO

from codegen.memory.child import let_go, pipe, send

LINE_LENGTH = 120
COLLECTED = 64  # statements, of which the garbage is collected at once: collecting it as it comes costs time
IDLE = 10  # added to the priority number of a process that others need later


def black_format(source: str) -> str:
    """What black makes of the source.

    black formats all that it changed a second time, because commas that it added change how lines are broken then.
    Where it added none, the second pass sees the same tokens and comes to the same text: it is left out.
    """
    import black  # about 90 ms, needed only where something new is formatted

    mode = black.Mode(line_length=LINE_LENGTH)
    once = getattr(black, "_format_str_once", None)
    if once is None:
        return black.format_str(source, mode=mode)
    formatted: str = once(source, mode=mode)
    return formatted if _tokens(source) == _tokens(formatted) else once(formatted, mode=mode)


def _tokens(source: str) -> str:
    """The source without what black changes and reads alike: white space, and which quotes a text stands in."""
    return "".join(source.split()).replace("'", '"')


class Formatter:
    """A child that answers `black_format`. Messages are pickles, of what this program made itself."""

    def __init__(self) -> None:
        theirs, self._requests = pipe()
        self._answers, ours = pipe()
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
            send(self._requests, source)
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


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """The child's life: it keeps no stream of the parent open, works until its input ends, and never returns."""
    try:
        let_go()
        os.nice(IDLE)  # on two processors, those that plan and render are waited for first
        import black as black  # early: the first request comes when the parent has rendered something

        while True:
            for _ in range(COLLECTED):
                send(answers, black_format(pickle.load(requests)))
            gc.collect()
    finally:
        os._exit(0)
