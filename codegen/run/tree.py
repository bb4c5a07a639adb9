"""The tree as one run sees it: every read is noted, so that the next run may see that nothing changed."""

import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import NamedTuple

from codegen.errors import ConflictError
from codegen.memory import last_run
from codegen.memory.last_run import Fact, Known, Signature
from codegen.places import places
from codegen.write.changes import signature

_SUFFIXES = (".py", ".yaml", ".md")


class Entry(NamedTuple):
    """One name in a folder; a symbolic link is neither a file nor a folder."""

    name: str
    is_file: bool
    is_folder: bool


class Tree:
    """Reads below a root.

    Attributes:
        root: the root's real path.
        since: a time of the file system; what is not older could change once more within one tick of its clock.
        files: path -> signature taken before the read, or None if there was no file.
        facts: path -> what the next run may rely on.
        folders: path -> ctime_ns of the listing, or None if there was no folder.
    """

    def __init__(self, root: str, since: int, known: Mapping[str, Known] | None = None) -> None:
        self.root = os.path.realpath(root)
        self.since = since
        self.files: dict[str, Signature | None] = {}
        self.facts: dict[str, Fact] = {}
        self.folders: dict[str, int | None] = {}
        self._known: Mapping[str, Known] = known or {}
        self._listings: dict[str, list[Entry]] = {}

    def absolute(self, path: str) -> str:
        """The absolute form of a path relative to the root."""
        return f"{self.root}/{path}"

    def read(self, path: str) -> bytes | None:
        """The content of a file; None if there is none. Raises ConflictError for a folder, a pipe or a device."""
        try:
            stat, content = last_run.read(self.absolute(path))
        except (FileNotFoundError, NotADirectoryError):
            self.files[path] = self.facts[path] = None
            return None
        except last_run.NotRegular as error:
            raise ConflictError(f"{path}: is not a regular file; move it away") from error
        seen = self.files[path] = signature(stat)
        digest = sha256(content).hexdigest()
        self.facts[path] = (*seen, digest) if max(seen[0], seen[3]) < self.since else digest
        return content

    def digest(self, path: str) -> str | None:
        """The digest of a file's content, without reading it if its signature is a known one; None if there is none."""
        known = self._known.get(path)
        if known is not None and self._signature(path) == known[:4]:
            self.files[path], self.facts[path] = known[:4], known
            return known[4]
        content = self.read(path)
        return None if content is None else sha256(content).hexdigest()

    def is_unchanged(self, path: str) -> bool:
        """Whether a file that was read is still the same."""
        return self._signature(path) == self.files[path]

    def _signature(self, path: str) -> Signature | None:
        try:
            return signature(os.stat(self.absolute(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return os.path.isfile(self.absolute(path))

    def list(self, path: str, before: "Tree | None" = None) -> list[Entry]:
        """The entries of a folder by name, as `before` saw them if its time is the same; none if there is no folder."""
        try:
            ctime = self.folders[path] = os.stat(self.absolute(path)).st_ctime_ns
            if before is not None and before.folders.get(path) == ctime < before.since:
                self._listings[path] = before._listings[path]
            else:
                self._listings[path] = _listed(self.absolute(path))
            return self._listings[path]
        except (FileNotFoundError, NotADirectoryError):
            self.folders[path] = None
            return []

    @property
    def settled(self) -> bool:
        """Whether no folder that was listed could change once more without a new time stamp."""
        return all(ctime is None or ctime < self.since for ctime in self.folders.values())

    def outputs(self, before: "Tree | None" = None) -> Iterator[str]:
        """Paths of all files in the output folders that might be generated ones."""
        pending: list[str] = [*places(self.root).outputs]
        while pending:
            folder = pending.pop()
            for entry in self.list(folder, before):
                if entry.is_folder and entry.name != "__pycache__":
                    pending.append(f"{folder}/{entry.name}")
                elif entry.is_file and entry.name.endswith(_SUFFIXES):
                    yield f"{folder}/{entry.name}"


def _listed(folder: str) -> list[Entry]:
    with os.scandir(folder) as entries:
        found = [
            Entry(entry.name, entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False))
            for entry in entries
        ]
    return sorted(found, key=lambda entry: entry.name)
