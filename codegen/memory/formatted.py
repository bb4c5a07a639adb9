"""Formatted statements by source text: black is most of a cold run, and most statements recur.

Entries live in 256 small files by the first byte of their key, so that one changed spec reads only what it needs.
"""

import importlib.util
import json
import os
from collections.abc import Sequence
from hashlib import sha256

from codegen.memory.formatter import Formatter, Formatting, black_format
from codegen.memory.store import Store


class FormatCache:
    """The memory of one run; what it learns reaches the disk with `flush`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._shards: dict[str, dict[str, str]] = {}
        self._learned: dict[str, dict[str, str]] = {}
        self._identity = _identity()
        self._child: Formatter | None = None

    def start(self) -> None:
        """Let a child import black now and format later."""
        if self._child is None:
            self._child = Formatter()

    def formatted(self, sources: Sequence[str], format: Formatting, mode: str) -> list[str]:
        """`format(sources)`, each remembered."""
        keys = [sha256(f"{self._identity}\n{mode}\n{source}".encode()).hexdigest() for source in sources]
        new = {key: source for key, source in zip(keys, sources, strict=True) if key not in self._shard(key[:2])}
        if new:
            chosen = self._child if self._child is not None and format is black_format else format
            for key, text in zip(new, chosen(list(new.values())), strict=True):
                self._shard(key[:2])[key] = self._learned.setdefault(key[:2], {})[key] = text
        return [self._shard(key[:2])[key] for key in keys]

    def flush(self) -> None:
        """End the child, and bring what was learned to the disk, beside what other runs brought there meanwhile."""
        if self._child is not None:
            self._child.close()
            self._child = None
        for name, learned in self._learned.items():
            self._store.put(name, json.dumps(self._read(name) | learned).encode())
        self._learned.clear()

    def _shard(self, name: str) -> dict[str, str]:
        if name not in self._shards:
            self._shards[name] = self._read(name)
        return self._shards[name]

    def _read(self, name: str) -> dict[str, str]:
        content = self._store.get(name)
        return {} if content is None else json.loads(content)


def _identity() -> str:
    """What identifies the installed black, without importing it."""
    spec = importlib.util.find_spec("black")
    if spec is None or spec.origin is None:
        return "no black"
    stat = os.stat(os.path.join(os.path.dirname(spec.origin), "__init__.py"))
    return f"{spec.origin} {stat.st_mtime_ns} {stat.st_size}"


_active = [FormatCache(Store(None))]


def use(store: Store) -> FormatCache:
    """Make `store` the memory that `cached_format` uses from here on."""
    _active[0] = FormatCache(store)
    return _active[0]


def active() -> FormatCache:
    """The memory that `cached_format` uses."""
    return _active[0]


def cached_format(sources: Sequence[str], format: Formatting, mode: str = "line-length=120 py311") -> list[str]:
    """`format(sources)`, which must depend on nothing but the sources, one by one, the installed black and what `mode`
    says."""
    return _active[0].formatted(sources, format, mode)
