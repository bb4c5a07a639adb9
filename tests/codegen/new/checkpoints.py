"""Checkpoint folders for tests: a config.json, and safetensors files that hold a header and no data."""

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def header(shapes: Mapping[str, Sequence[int]]) -> bytes:
    """The start of a safetensors file."""
    entries = {name: {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 0]} for name, shape in shapes.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    return struct.pack("<Q", len(text)) + text


def checkpoint(folder: Path, config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]] | None = None) -> Path:
    """A folder with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shapes is not None:
        (folder / "model.safetensors").write_bytes(header(shapes))
    return folder


def expanded(patterns: Mapping[str, Sequence[int]], layers: int, experts: int = 2) -> dict[str, Sequence[int]]:
    """Names with `{layer}` and `{expert}` in them, one for each."""
    found: dict[str, Sequence[int]] = {}
    for name, shape in patterns.items():
        for layer in range(layers if "{layer}" in name else 1):
            for expert in range(experts if "{expert}" in name else 1):
                found[name.replace("{layer}", str(layer)).replace("{expert}", str(expert))] = shape
    return found
