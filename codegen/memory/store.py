"""What a run may remember: generated files by spec, and formatted statements by source.

Entries are found by the digest of everything that they depend on, so they are never stale; they carry a checksum, so a
damaged one is rebuilt; and they are put in place by a rename, so runs may share them.
"""

import os
from contextlib import suppress
from hashlib import sha256

from codegen.memory.last_run import content
from codegen.write.leftovers import sweep


class Store:
    """A folder of small files, each named by a key. With `folder` None nothing is remembered."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder

    @property
    def remembers(self) -> bool:
        """Whether what is put can be got again."""
        return self._folder is not None

    def get(self, key: str) -> bytes | None:
        """The content stored under `key`; None if there is none or it is damaged."""
        if self._folder is None:
            return None
        try:
            checksum, _, found = content(os.path.join(self._folder, key)).partition(b"\n")
        except OSError:
            return None
        return found if checksum == sha256(found).hexdigest().encode() else None

    def put(self, key: str, value: bytes) -> None:
        """Remember `value` under `key`. A disk that refuses (full, read-only) costs only the memory."""
        if self._folder is None:
            return
        temporary = os.path.join(self._folder, f"{key}.{os.getpid()}.tmp")
        try:
            os.makedirs(self._folder, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(sha256(value).hexdigest().encode() + b"\n" + value)
            os.replace(temporary, os.path.join(self._folder, key))
        except OSError:
            self._folder = None
            with suppress(OSError):
                os.unlink(temporary)

    def prune(self, used: set[str], spare: int) -> None:
        """Drop the least recently written entries that this run did not use, beyond `spare` of them."""
        if self._folder is None or not os.path.isdir(self._folder):
            return
        sweep(self._folder)
        with os.scandir(self._folder) as entries:
            unused = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name not in used]
        for _, path in sorted(unused)[: max(0, len(unused) - spare)]:
            with suppress(OSError):  # another run dropped it, or something stands there that is no entry
                os.unlink(path)
