"""What a draft is made from: a config.json, and the tensors beside it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from codegen.errors import CodegenError
from codegen.frozen import Frozen
from codegen.language.disk import PATH
from codegen.memory import last_run
from codegen.new.headers import Shape, read_shapes

MAX_CONFIG = 4_000_000  # bytes


class Source(Frozen):
    """A published model. `tensors` is empty where only a config.json was given."""

    shown: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Shape]
    notes: tuple[str, ...] = ()


def read(path: Path) -> Source:
    """Read a config.json, or a checkpoint folder with one.

    Raises:
        CodegenError: where something is missing or broken.
    """
    if not path.exists():
        raise CodegenError(
            f"{path}: there is no such file or folder; name a config.json or the folder of a checkpoint, or"
            " a model type of transformers, which --draft and --text do not take"
        )
    file = path / "config.json" if path.is_dir() else path
    if not file.exists():
        raise CodegenError(f"{file}: there is no config.json; save or download the checkpoint with it")
    config = _config(file)
    tensors, notes = read_shapes(path) if path.is_dir() else ({}, [])
    odd = [name for name in tensors if not PATH.fullmatch(name)]
    notes += [f"{len(odd)} tensors have names that no module can have, {ascii(odd[0])} first: left out"] if odd else []
    tensors = {name: shape for name, shape in tensors.items() if PATH.fullmatch(name)}
    if not tensors:
        notes.append("no tensor names were seen: what only they tell is taken from the nearest spec")
    if config.get("auto_map") or (path.is_dir() and any(path.glob("*.py"))):
        notes.append("the checkpoint carries code of its own: nothing of it was run; read it beside the draft")
    return Source(str(path), config, tensors, tuple(notes))


def _config(file: Path) -> dict[str, Any]:
    stat, handle = last_run.opened(str(file))
    with os.fdopen(handle, "rb") as stream:
        if stat.st_size > MAX_CONFIG:
            raise CodegenError(f"{file}: is larger than {MAX_CONFIG} bytes; a config.json has a few thousand")
        text = stream.read()
    try:
        content = _numbers(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise CodegenError(f"{file}: is no valid JSON ({error}); download it again") from None
    if not isinstance(content, dict):
        raise CodegenError(f"{file}: holds no JSON object; name the config.json of a model")
    config = cast("dict[str, Any]", content)
    if not isinstance(config.get("model_type"), str) or not config["model_type"]:
        raise CodegenError(f'{file}: has no model_type; add it, e.g. "model_type": "llama"')
    architectures = config.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(name, str) for name in cast("list[Any]", architectures))
    ):
        raise CodegenError(f"{file}: architectures must be a list of class names")
    return config


def _numbers(value: Any) -> Any:
    """Infinity and NaN are read as transformers reads them: bare words, or the mapping that it writes for them."""
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        if entries.keys() == {"__float__"} and entries["__float__"] in ("Infinity", "-Infinity", "NaN"):
            return float(entries["__float__"])
        return {name: _numbers(entry) for name, entry in entries.items()}
    return [_numbers(entry) for entry in cast("list[Any]", value)] if isinstance(value, list) else value
