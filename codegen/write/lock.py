"""One writer at a time: a file lock that the kernel releases when the holder dies."""

import fcntl
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from codegen.errors import ConflictError
from codegen.layout import STATE_DIR
from codegen.write.leftovers import sweep


def state_dir(root: str) -> str:
    """The folder for state, made if need be and hidden from git.

    Raises:
        ConflictError: it is a symbolic link.
        OSError: it cannot be made.
    """
    folder = os.path.join(root, STATE_DIR)
    if os.path.islink(folder):
        raise ConflictError(f"{STATE_DIR} is a symbolic link, and codegen writes through none; delete it")
    os.makedirs(folder, exist_ok=True)
    sweep(folder)
    ignore = os.path.join(folder, ".gitignore")
    if not os.path.exists(ignore):
        with open(ignore, "w", encoding="ascii") as file:
            file.write("*\n")
    return folder


@contextmanager
def locked(root: str) -> Generator[str]:
    """Hold the tree's lock; yields the state folder. Waits, and says so, while another run holds it."""
    folder = state_dir(root)
    handle = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("codegen: another run is writing this tree; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(handle)
