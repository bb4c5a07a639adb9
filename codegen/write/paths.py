"""Paths that may be written: inside the root, and through no symbolic link."""

import os
import re
import stat
from collections.abc import Sequence

from codegen.errors import ConflictError

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")


def check_output(path: str, outputs: Sequence[str]) -> None:
    """Refuse the path of an artifact that is not a plain one below an output folder.

    Raises:
        ConflictError: the path is absolute, has odd parts, or leads elsewhere.
    """
    plain = all(_PART.fullmatch(part) for part in path.split("/"))
    if not plain or not any(path.startswith(f"{folder}/") for folder in outputs):
        raise ConflictError(f"{path}: generated files stand only below {', '.join(outputs)}; choose another name")


def check_target(root: str, path: str) -> None:
    """Refuse a target that a symbolic link would lead elsewhere, or whose parent is no folder.

    Raises:
        ConflictError: `path` or a folder above it (below `root`) is a symbolic link, or a folder is a file.
    """
    real_root = os.path.realpath(root)
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        below = "/".join(parts[:depth])
        try:
            mode = os.lstat(os.path.join(real_root, below)).st_mode
        except FileNotFoundError:
            return
        _check_mode(path, below, mode, last=depth == len(parts))


def _check_mode(path: str, below: str, mode: int, *, last: bool) -> None:
    if stat.S_ISLNK(mode):
        raise ConflictError(f"{path}: {below} is a symbolic link, and codegen writes through none; use a copy")
    if last and not stat.S_ISREG(mode):
        raise ConflictError(f"{path}: is not a regular file; move it away")
    if not last and not stat.S_ISDIR(mode):
        raise ConflictError(f"{path}: {below} is not a folder; move it away")
