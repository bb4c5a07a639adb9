"""Write files that are no artifacts (a schema, a drafted spec, ejected files) as safely as artifacts."""

import os
from collections.abc import Callable

from codegen.memory.last_run import content, read
from codegen.write.changes import Change, signature
from codegen.write.commit import commit, recover
from codegen.write.lock import locked


def replacement(root: str, path: str, new: bytes | None) -> Change | None:
    """The change that makes `path` hold `new` (None: be absent); None if it does already.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        stat, old = read(os.path.join(root, path))
        seen = signature(stat)
    except FileNotFoundError:
        seen = old = None
    if old == new:
        return None
    return Change(path, "delete" if new is None else "edit", old, new, seen)


def write_files(root: str, contents: dict[str, bytes | None]) -> list[str]:
    """Bring files to the given contents (None: delete), all or none; returns the paths that changed.

    Raises:
        ConflictError: a path is unsafe, or a file changed meanwhile.
        WriteError: the disk refuses; nothing was written.
    """
    root = os.path.realpath(root)
    with locked(root) as state:
        recover(root, state)
        changes = [change for path, new in contents.items() if (change := replacement(root, path, new))]
        if changes:
            commit(root, state, changes)
    return [change.path for change in changes]


def change_file(root: str, path: str, edit: Callable[[bytes | None], bytes]) -> None:
    """Bring a file to what `edit` makes of its content (None: there is none), while no other run writes the tree.

    Raises:
        ConflictError: the path is unsafe.
        WriteError: the disk refuses; nothing was written.
    """
    root = os.path.realpath(root)
    with locked(root) as state:
        recover(root, state)
        target = os.path.join(root, path)
        old = content(target) if os.path.lexists(target) else None
        change = replacement(root, path, edit(old))
        commit(root, state, [change] if change else [])
