"""Names and shapes of a checkpoint's tensors, from safetensors headers only. Nothing is unpickled or run."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from codegen.errors import CodegenError
from codegen.memory import last_run

MAX_HEADER = 100_000_000  # bytes; the format's own bound
MAX_INDEX = 100_000_000
MAX_TENSORS = 2_000_000
Shape = tuple[int, ...] | None  # None: the index names the tensor, its file is not there


def read_shapes(folder: Path) -> tuple[dict[str, Shape], list[str]]:
    """Shapes by tensor name, sorted, and notes on what could not be read; empty where the folder has no safetensors.

    Raises:
        CodegenError: where a header or an index is broken.
    """
    index = next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is not None:
        found, notes = _indexed(folder, index)
    else:
        found, notes = dict[str, Shape](), list[str]()
        for file in _files(folder):
            found |= header(file)
    if not found and (pickled := sorted(folder.glob("*.bin")) or sorted(folder.glob("*.pt*"))):
        notes.append(f"{pickled[0].name} is pickled and was not opened; save the checkpoint as safetensors to use it")
    if len(found) > MAX_TENSORS:
        raise CodegenError(f"{folder}: {len(found)} tensors are more than {MAX_TENSORS}")
    return dict(sorted(found.items())), notes


def header(file: Path) -> dict[str, Shape]:
    """The shapes that one file's header states.

    Raises:
        CodegenError: where the file is no safetensors file.
    """
    stat, handle = last_run.opened(str(file))
    size = stat.st_size
    with os.fdopen(handle, "rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise _broken(file, f"its header claims {length} bytes, the file has {size}")
        content = _parsed(file, stream.read(length))
    return {name: _shape(file, name, entry) for name, entry in content.items() if name != "__metadata__"}


def _files(folder: Path) -> list[Path]:
    """The model's own files, where a folder holds others beside them (adapters, consolidated copies)."""
    files = sorted(path for path in folder.glob("*.safetensors") if path.exists())
    return [path for path in files if path.name.startswith("model")] or files


def _indexed(folder: Path, index: Path) -> tuple[dict[str, Shape], list[str]]:
    stat, handle = last_run.opened(str(index))
    with os.fdopen(handle, "rb") as stream:
        if stat.st_size > MAX_INDEX:
            raise _broken(index, f"it is larger than {MAX_INDEX} bytes")
        listed: Any = _parsed(index, stream.read()).get("weight_map")
    if not isinstance(listed, dict) or not all(_is_plain(name) for name in cast("dict[str, Any]", listed).values()):
        raise _broken(index, "its weight_map must map tensor names to file names of the same folder")
    files = cast("dict[str, str]", listed)
    found: dict[str, Shape] = dict.fromkeys(files)
    notes: list[str] = []
    for name in sorted(set(files.values())):
        if (folder / name).exists():
            found |= header(folder / name)
        else:
            notes.append(f"{name} is not there: its tensors are known by name only")
    return found, notes


def _is_plain(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name and name.endswith(".safetensors")


def _parsed(file: Path, text: bytes) -> dict[str, Any]:
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise _broken(file, "its header is no JSON") from None
    if not isinstance(content, dict):
        raise _broken(file, "its header is no JSON object")
    return cast("dict[str, Any]", content)


def _shape(file: Path, name: str, entry: Any) -> Shape:
    sizes = list(_sizes(entry))
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise _broken(file, f"tensor {name!r} has no shape")
    return tuple(sizes)


def _sizes(entry: Any) -> Iterator[Any]:
    shape: Any = cast("dict[str, Any]", entry).get("shape") if isinstance(entry, dict) else None
    return iter(cast("list[Any]", shape)) if isinstance(shape, list) else iter([None])


def _broken(file: Path, why: str) -> CodegenError:
    return CodegenError(f"{file}: is broken: {why}; download it again")
