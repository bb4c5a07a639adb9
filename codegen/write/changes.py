"""What a run wants to do to the tree, as data."""

import os
from typing import Literal

from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.memory.last_run import Signature


def signature(stat: os.stat_result) -> Signature:
    """The signature in a stat result."""
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_ctime_ns)


class Change(Frozen):
    """One file to write or delete. `signature` is that of the content `old`, and must still hold at the commit."""

    path: str
    action: Literal["create", "update", "delete", "edit"]
    old: bytes | None
    new: bytes | None
    signature: Signature | None


class WriteError(CodegenError):
    """The disk refused; the message says in which state the tree is. Exit code 2."""


class Conflict(Frozen):
    """A file that must not be touched, why, and what the person can do about it."""

    path: str
    reason: str
    cure: str
    diff: str = ""
