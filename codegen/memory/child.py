"""A second process for work that the first would otherwise do later."""

import os
import pickle
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, BinaryIO


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


def ahead(work: Callable[[], Any]) -> Callable[[], Any]:
    """Begin `work` in a child; returns what waits for its result, which is None if the child could not do it.

    The result comes as a pickle, of what this program made itself: both ends are the same process, forked.
    """
    answers, ours = pipe()
    child = os.fork()
    if child == 0:
        try:
            let_go()
            answers.close()
            send(ours, work())
        finally:
            os._exit(0)
    ours.close()

    def result() -> Any:
        try:
            return pickle.load(answers)
        except EOFError:
            return None
        finally:
            answers.close()
            os.waitpid(child, 0)

    return result


def pipe() -> tuple[BinaryIO, BinaryIO]:
    """Both ends of a new pipe: for reading, for writing."""
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb"), os.fdopen(writing, "wb")


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message whole."""
    pickle.dump(message, stream)
    stream.flush()
