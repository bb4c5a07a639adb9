"""The state of the last clean run: if nothing has changed since, a run is over before it imports anything.

The state file is text, one fact a line, because reading it must cost less than importing a parser:
`f mtime size inode sha256 path` a file as it was read, `h sha256 path` one that changed too recently for its times to
be trusted, `d mtime path` a listing of a folder, `x path` something that did not exist. Imports only `os` and `sys`.
"""

import os
import sys

from codegen.layout import STATE_DIR, find_root

_STATE = "state"
_FORMAT = "codegen state 1"
_FLAGS = {"--json", "--exit-non-zero-on-change"}
_CLEAN = '{"command": "%s", "exit_code": 0, "clean": true, "changes": [], "conflicts": [], "problems": [], "notes": []}'

Signature = tuple[int, int, int]
"""(mtime_ns, size, inode) of a file, taken before its content was read."""

Known = tuple[int, int, int, str]
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


def in_ci() -> bool:
    """Whether this runs in continuous integration, where everything is checked anew."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def unchanged(root: str) -> bool:
    """Whether every fact of the state file still holds. A missing or damaged file says no."""
    try:
        lines = _lines(root)
        return bool(lines) and all(_holds(root, line) for line in lines)
    except (OSError, ValueError):
        return False


def known(root: str) -> dict[str, Known]:
    """What the last clean run knew of every file; it holds for those whose signature is still the same."""
    found: dict[str, Known] = {}
    try:
        for line in _lines(root):
            if line.startswith("f "):
                _, mtime, size, inode, digest, path = line.split(" ", 5)
                found[path] = (int(mtime), int(size), int(inode), digest)
    except (OSError, ValueError):
        return {}
    return found


def save(root: str, files: dict[str, Fact], folders: dict[str, int | None]) -> None:
    """Write the state of a clean run.

    Args:
        root: the root; relative paths are below it.
        files: what is known of every file that was read or written.
        folders: times of the listings, taken before they were read; None for a folder that did not exist.
    """
    lines = [_FORMAT, _interpreter()]
    for path, fact in files.items():
        if fact is None:
            lines.append(f"x {path}")
        elif isinstance(fact, str):
            lines.append(f"h {fact} {path}")
        else:
            lines.append("f {} {} {} {} {}".format(*fact, path))
    lines += [f"x {path}" if mtime is None else f"d {mtime} {path}" for path, mtime in folders.items()]
    if any("\n" in line for line in lines):
        return
    temporary = os.path.join(root, STATE_DIR, f"{_STATE}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, "end", ""]))
    os.replace(temporary, os.path.join(root, STATE_DIR, _STATE))


def now(root: str) -> int:
    """The time at which the file system stamps a file written now."""
    probe = os.path.join(root, STATE_DIR, f"now.{os.getpid()}.tmp")
    with open(probe, "w", encoding="ascii"):
        mtime = os.stat(probe).st_mtime_ns
    os.unlink(probe)
    return mtime


def _lines(root: str) -> list[str]:
    """The facts of the state file; none if it is damaged or another interpreter's."""
    with open(os.path.join(root, STATE_DIR, _STATE), encoding="utf-8") as file:
        lines = file.read().split("\n")
    whole = lines[:2] == [_FORMAT, _interpreter()] and lines[-2:] == ["end", ""]
    return lines[2:-2] if whole else []


def _interpreter() -> str:
    return f"{sys.prefix} {sys.hexversion}"


def _holds(root: str, line: str) -> bool:
    kind, rest = line[:1], line[2:]
    if kind == "f":
        mtime, size, inode, _, path = rest.split(" ", 4)
        stat = os.stat(os.path.join(root, path))
        return stat.st_mtime_ns == int(mtime) and stat.st_size == int(size) and stat.st_ino == int(inode)
    if kind == "d":
        mtime, path = rest.split(" ", 1)
        return os.stat(os.path.join(root, path)).st_mtime_ns == int(mtime)
    if kind == "h":
        digest, path = rest.split(" ", 1)
        return _content_digest(os.path.join(root, path)) == digest
    if kind == "x":
        return not os.path.lexists(os.path.join(root, rest))
    return False


def _content_digest(path: str) -> str:
    from hashlib import sha256

    with open(path, "rb") as file:
        return sha256(file.read()).hexdigest()
