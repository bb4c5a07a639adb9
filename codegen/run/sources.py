"""The generator's own files and tools: whatever it is made of, output depends on."""

import importlib.util
import os
import sys
from hashlib import sha256

from codegen.memory.last_run import Signature
from codegen.write.changes import signature

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # all of `codegen`, of which this is a room
_TOOLS = ("yaml", "cerberus", "libcst", "black")


def generator_files() -> dict[str, Signature]:
    """Absolute path -> signature of every file of this package, and of the entry module of every tool that it uses."""
    found: dict[str, Signature] = {}
    pending = [PACKAGE]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    pending += [entry.path] if entry.name != "__pycache__" else []
                elif not entry.name.endswith(".pyc"):
                    found[entry.path] = signature(entry.stat())
    for path in filter(None, map(_entry_module, _TOOLS)):
        found[path] = signature(os.stat(path))
    return found


def generator_digest(files: dict[str, Signature]) -> str:
    """A digest of the generator: contents of its own files, signatures of its tools, the version of Python."""
    package = PACKAGE + os.sep
    state = sha256(sys.version.encode())
    for path in sorted(files):
        state.update(path.removeprefix(package).encode() + b"\0")
        if path.startswith(package):
            with open(path, "rb") as file:
                state.update(sha256(file.read()).digest())
        else:
            state.update(repr(files[path]).encode())
    return state.hexdigest()


def _entry_module(tool: str) -> str | None:
    spec = importlib.util.find_spec(tool)
    return None if spec is None else spec.origin
