"""The tree as one run sees it: every read is noted, so that the next run may see that nothing changed."""

import os
from collections.abc import Iterator
from hashlib import sha256

from codegen.fastpath import Fact, Signature
from codegen.layout import OUTPUT_ROOTS
from codegen.write.changes import signature

_SUFFIXES = (".py", ".yaml", ".md")


class Tree:
    """Reads below a root.

    Attributes:
        root: the root's real path.
        since: a time of the file system; what is not older could change once more within one tick of its clock.
        files: path -> signature taken before the read, or None if there was no file.
        facts: path -> what the next run may rely on.
        folders: path -> mtime_ns of the listing, or None if there was no folder.
    """

    def __init__(self, root: str, since: int) -> None:
        self.root = os.path.realpath(root)
        self.since = since
        self.files: dict[str, Signature | None] = {}
        self.facts: dict[str, Fact] = {}
        self.folders: dict[str, int | None] = {}

    def absolute(self, path: str) -> str:
        """The absolute form of a path relative to the root."""
        return os.path.join(self.root, path)

    def read(self, path: str) -> bytes | None:
        """The content of a file; None if there is none."""
        try:
            with open(self.absolute(path), "rb") as file:
                seen = self.files[path] = signature(os.fstat(file.fileno()))
                content = file.read()
        except (FileNotFoundError, NotADirectoryError):
            self.files[path] = self.facts[path] = None
            return None
        self.facts[path] = seen if seen[0] < self.since else sha256(content).hexdigest()
        return content

    def exists(self, path: str) -> bool:
        """Whether there is a file at `path`."""
        return os.path.isfile(self.absolute(path))

    def list(self, path: str) -> list[os.DirEntry[str]]:
        """The entries of a folder by name; none if there is no folder."""
        try:
            self.folders[path] = os.stat(self.absolute(path)).st_mtime_ns
            with os.scandir(self.absolute(path)) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            self.folders[path] = None
            return []

    @property
    def settled(self) -> bool:
        """Whether no folder that was listed could change once more without a new time stamp."""
        return all(mtime is None or mtime < self.since for mtime in self.folders.values())

    def outputs(self) -> Iterator[str]:
        """Paths of all files in the output folders that might be generated ones."""
        pending = list(OUTPUT_ROOTS)
        while pending:
            folder = pending.pop()
            for entry in self.list(folder):
                if entry.is_dir(follow_symlinks=False):
                    pending += [f"{folder}/{entry.name}"] if entry.name != "__pycache__" else []
                elif entry.is_file(follow_symlinks=False) and entry.name.endswith(_SUFFIXES):
                    yield f"{folder}/{entry.name}"
