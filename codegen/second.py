"""A second process for work that the first would otherwise do later: for its results the two share a memory on disk."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager


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
    """Run `work` in a child while the body runs here, and wait for it. Its errors are lost: check what it left."""
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
