"""The journal: what a commit is about to do, on disk before it does it, so that a later run can finish or undo it."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from typing import Any

from codegen.frozen import Frozen
from codegen.memory.last_run import content

FORWARD = "journal"
BACKWARD = "undo"
STAGE = "stage"
_FEW = 16


class Operation(Frozen):
    """One file. Digests are of whole contents, None for no file; `staged` and `backup` are names in the stage."""

    path: str
    old: str | None
    new: str | None
    staged: str | None
    backup: str | None


class Journal(Frozen):
    """All operations of one commit, and the folders that it makes, outermost first."""

    operations: tuple[Operation, ...]
    folders: tuple[str, ...]


def content_digest(data: bytes | None) -> str | None:
    """The digest of a content; None for an absent file."""
    return None if data is None else sha256(data).hexdigest()


def write(state: str, journal: Journal) -> None:
    """Put the journal in place; from here on the commit will be finished, by this run or by a later one."""
    temporary = os.path.join(state, "journal.tmp")
    write_durably(temporary, json.dumps(asdict(journal)).encode())
    os.replace(temporary, os.path.join(state, FORWARD))
    sync(state)


def read(path: str) -> Journal | None:
    """The journal at `path`; None if there is none.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    try:
        data: dict[str, Any] = json.loads(content(path))
    except FileNotFoundError:
        return None
    return Journal(tuple(Operation(**operation) for operation in data["operations"]), tuple(data["folders"]))


def forward(root: str, state: str, operation: Operation, present: str | None) -> bool:
    """Do one operation unless it is done; False if `present`, the digest on disk, is neither the old nor the new."""
    if present == operation.new:
        return True
    if present != operation.old:
        return False
    target = os.path.join(root, operation.path)
    if operation.staged is None:
        os.unlink(target)
    else:
        _place(os.path.join(state, STAGE, operation.staged), target)
    return True


def backward(root: str, state: str, operation: Operation, present: str | None) -> bool:
    """Undo one operation unless it is undone; False if what is on disk is neither the old nor the new."""
    if present == operation.old:
        return True
    if present != operation.new:
        return False
    target = os.path.join(root, operation.path)
    if operation.backup is None:
        os.unlink(target)
    else:
        _place(os.path.join(state, STAGE, operation.backup), target)
    return True


def _place(source: str, target: str) -> None:
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        os.makedirs(folder)
    os.replace(source, target)


Step = Callable[[str, str, Operation, str | None], bool]


def digest_on_disk(root: str, path: str) -> str | None:
    """The digest of the file at `path` now."""
    try:
        return content_digest(content(os.path.join(root, path)))
    except FileNotFoundError:
        return None


def write_durably(path: str, data: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with open(path, "wb") as file:
        file.write(data)
    sync(path)


def sync(path: str) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(paths: Sequence[str]) -> None:
    """`sync` many: the disk serves those that wait at the same time together, which is ten times faster."""
    if len(paths) <= _FEW:
        for path in paths:
            sync(path)
        return
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_FEW) as pool:
        list(pool.map(sync, paths))
