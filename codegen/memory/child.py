"""A second process for work that the first would otherwise do later."""

import atexit
import gc
import os
import pickle
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

COLLECTED = 16  # requests, of which the garbage is collected at once: collecting it as it comes costs time


def processors() -> int:
    """How many processes can run at once."""
    return os.cpu_count() or 1


def let_go() -> None:
    """Leave the standard streams to the parent: whoever reads them must not wait for this child."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)


@contextmanager
def meanwhile(work: Callable[[], None] | None) -> Generator[None]:
    """Run `work` in a child while the body runs here, and wait for it.

    What it makes, it leaves in a memory on disk that the two share. Its errors are lost: check what it left.
    """
    child = os.fork() if work is not None else 0
    if work is not None and child == 0:
        try:
            let_go()
            os.closerange(3, 1024)  # above all the lock, which must not outlive the parent
            work()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        if child:
            os.waitpid(child, 0)


class Worker:
    """A child that gets ready while this process does something else, and then answers requests until their end.

    Messages are pickles, of what this program made itself: both ends are the same process, forked.
    """

    def __init__(self, ready: Callable[[], None], answer: Callable[[Any], Any], patience: int = 0) -> None:
        """Fork. `ready` runs there once, `answer` for each request; `patience` is added to its priority number."""
        theirs, self._requests = pipe()
        self._answers, ours = pipe()
        self._child = os.fork()
        if self._child == 0:
            self._requests.close()  # so that the death of the parent ends the child's input
            self._answers.close()
            _serve(theirs, ours, ready, answer, patience)
        theirs.close()
        ours.close()

    def ask(self, request: Any) -> None:
        """Send a request.

        Raises:
            BrokenPipeError: the child is gone.
        """
        pickle.dump(request, self._requests)
        self._requests.flush()

    def answer(self) -> Any:
        """The answer to the first request that has none yet.

        Raises:
            EOFError: the child could not answer, and is gone.
        """
        return pickle.load(self._answers)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        os.kill(self._child, signal.SIGKILL)
        atexit.register(os.waitpid, self._child, 0)  # later: the system takes its time to free a child's memory
        self._answers.close()
        with suppress(BrokenPipeError):  # the child was gone before its last request was
            self._requests.close()


def _serve(
    requests: BinaryIO, answers: BinaryIO, ready: Callable[[], None], answer: Callable[[Any], Any], patience: int
) -> None:
    """The child's life: it keeps no stream of the parent open, works until its input ends, and never returns."""
    try:
        let_go()
        os.nice(patience)
        ready()
        while True:
            for _ in range(COLLECTED):
                pickle.dump(answer(pickle.load(requests)), answers)
                answers.flush()
            gc.collect()
    finally:
        os._exit(0)


def pipe() -> tuple[BinaryIO, BinaryIO]:
    """Both ends of a new pipe: for reading, for writing."""
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
