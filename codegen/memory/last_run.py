"""The state of the last clean run: if nothing has changed since, a run is over before it imports anything.

The state file is text, one fact a line, because reading it must cost less than importing a parser:
`f mtime size inode ctime sha256 path` a file as it was read, `h sha256 path` one that changed too recently for its
times to be trusted, `d ctime path` a listing of a folder, `x path` something that did not exist. Imports only `os` and
`sys`.
"""

import os
import sys

from codegen.layout import STATE_DIR, find_root

_STATE = "state"
_FORMAT = "codegen state 2"
_FLAGS = {"--json", "--exit-non-zero-on-change"}
_CLEAN = '{"command": "%s", "exit_code": 0, "clean": true, "changes": [], "conflicts": [], "problems": [], "notes": []}'

Signature = tuple[int, int, int, int]
"""(mtime_ns, size, inode, ctime_ns) of a file, taken before its content was read: the last cannot be set back."""

Known = tuple[int, int, int, int, str]
"""A signature and the digest of the content that belongs to it."""

Fact = Known | str | None
"""What is known; or only the digest, where a change could share the signature's time stamp; or None for no file."""


def settled(arguments: list[str]) -> bool:
    """Whether the command is one that has nothing to do; if so its report is printed. Never trusts the state in CI."""
    command = arguments[0] if arguments else ""
    if command not in ("check", "apply", "diff") or in_ci():
        return False
    options = arguments[1:]
    root: str | None = None
    if "--root" in options[:-1]:
        position = options.index("--root")
        root = options[position + 1]
        del options[position : position + 2]
    root = find_root(os.getcwd()) if root is None else root
    if root is None or not _FLAGS.issuperset(options) or not unchanged(root):
        return False
    if "--json" in options:
        print(_CLEAN % command)
    elif command != "diff":
        print("clean")
    return True


class NotRegular(OSError):
    """A folder, a pipe or a device where a file should be."""


def content(path: str) -> bytes:
    """The content of a regular file; a pipe is not waited for.

    Raises:
        NotRegular: it is none.
        OSError: it cannot be read.
    """
    return read(path)[1]


def read(path: str) -> tuple[os.stat_result, bytes]:
    """The same, after what the system says of the file."""
    stat, handle = opened(path)
    with os.fdopen(handle, "rb") as file:
        return stat, file.read()


def opened(path: str) -> tuple[os.stat_result, int]:
    """What the system says of a regular file, and a handle that reads it."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    stat = os.fstat(handle)
    if stat.st_mode & 0o170000 != 0o100000:
        os.close(handle)
        raise NotRegular(0, "is not a regular file", path)
    return stat, handle


def in_ci() -> bool:
    """Whether this runs in continuous integration, where everything is checked anew."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def unchanged(root: str) -> bool:
    """Whether every fact of the state file still holds. A missing or damaged file says no."""
    try:
        lines = _lines(root)
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return bool(lines) and all(_holds(root, folder, line) for line in lines)
        finally:
            os.close(folder)
    except (OSError, ValueError):
        return False


def known(root: str) -> dict[str, Known]:
    """What the last clean run knew of every file; it holds for those whose signature is still the same."""
    found: dict[str, Known] = {}
    try:
        for line in _lines(root):
            if line.startswith("f "):
                _, mtime, size, inode, ctime, digest, path = line.split(" ", 6)
                found[path] = (int(mtime), int(size), int(inode), int(ctime), digest)
    except (OSError, ValueError):
        return {}
    return found


def save(root: str, files: dict[str, Fact], folders: dict[str, int | None]) -> None:
    """Write the state of a clean run.

    Args:
        root: the root; relative paths are below it.
        files: what is known of every file that was read or written.
        folders: change times of the listings, taken before they were read; None for a folder that did not exist.
    """
    lines = [_FORMAT, _interpreter()]
    for path, fact in files.items():
        if fact is None:
            lines.append(f"x {path}")
        elif isinstance(fact, str):
            lines.append(f"h {fact} {path}")
        else:
            lines.append("f {} {} {} {} {} {}".format(*fact, path))
    lines += [f"x {path}" if ctime is None else f"d {ctime} {path}" for path, ctime in folders.items()]
    if any("\n" in line for line in lines):
        return
    temporary = os.path.join(root, STATE_DIR, f"{_STATE}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, "end", ""]))
        os.replace(temporary, os.path.join(root, STATE_DIR, _STATE))
    except OSError:
        _unlink(temporary)
        raise


def _unlink(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def now(root: str) -> int:
    """The time at which the file system stamps a file written now."""
    probe = os.path.join(root, STATE_DIR, f"now.{os.getpid()}.tmp")
    with open(probe, "w", encoding="ascii"):
        mtime = os.stat(probe).st_mtime_ns
    os.unlink(probe)
    return mtime


def _lines(root: str) -> list[str]:
    """The facts of the state file; none if it is damaged or another interpreter's."""
    lines = content(os.path.join(root, STATE_DIR, _STATE)).decode().split("\n")
    whole = lines[:2] == [_FORMAT, _interpreter()] and lines[-2:] == ["end", ""]
    return lines[2:-2] if whole else []


def _interpreter() -> str:
    return f"{sys.prefix} {sys.hexversion}"


def _holds(root: str, folder: int, line: str) -> bool:
    """Whether a fact holds below `root`, which is open as `folder`: the system need not walk whole paths again."""
    kind = line[0]
    if kind == "f":
        _, mtime, size, inode, ctime, _, path = line.split(" ", 6)
        stat = os.stat(path, dir_fd=folder)
        same = stat.st_mtime_ns == int(mtime) and stat.st_ctime_ns == int(ctime)
        return same and stat.st_size == int(size) and stat.st_ino == int(inode)
    if kind == "d":
        _, ctime, path = line.split(" ", 2)
        return os.stat(path, dir_fd=folder).st_ctime_ns == int(ctime)
    if kind == "h":
        _, digest, path = line.split(" ", 2)
        return _content_digest(os.path.join(root, path)) == digest
    return kind == "x" and _is_missing(line[2:], folder)


def _is_missing(path: str, folder: int) -> bool:
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def _content_digest(path: str) -> str:
    from hashlib import sha256

    return sha256(content(path)).hexdigest()
