"""What the draft of another config of the same family says, which a candidate does not: its tensors show it."""

from collections.abc import Iterator, Mapping
from pathlib import Path as File
from tempfile import TemporaryDirectory
from typing import Any

from codegen.errors import CodegenError
from codegen.language.frame import FRAME
from codegen.language.load import load
from codegen.new import draft
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.mutant import Path


def redrafted(candidate: Candidate, oracle: Oracle, root: File, name: str) -> list[tuple[Path, Any]]:
    """(path, value) of all that differs; nothing where nothing can be drafted."""
    with TemporaryDirectory() as folder:
        oracle.reference.save(File(folder))
        try:
            drafted = draft(File(folder), root, name, write=False)
            data = load(drafted.text, drafted.spec).plain()
        except CodegenError:
            return []
    return list(_others({key: value for key, value in data.items() if key not in FRAME}, candidate.data, ()))


def _others(new: Mapping[str, Any], old: Mapping[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            yield from _others(value, before, (*path, key))
        elif value != before:
            yield (*path, key), value
