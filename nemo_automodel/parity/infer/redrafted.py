"""What the draft of another config of the same family says, which a candidate does not: its tensors show it."""

from collections.abc import Iterator, Mapping
from pathlib import Path as File
from tempfile import TemporaryDirectory
from typing import Any

from codegen.errors import CodegenError
from codegen.language.frame import FRAME
from codegen.language.keys import keys
from codegen.language.load import load
from codegen.language.spec import Spec
from codegen.new import draft
from codegen.new.body import Body
from nemo_automodel.parity.infer.below import key_at, keys_below
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.oracle import Oracle
from nemo_automodel.parity.mutant import Data, Path


class Redrafts:
    """Drafts of a search's cases, each made once. root: the tree that holds the specs."""

    def __init__(self, root: File, name: str) -> None:
        self.root, self.name = root, name
        self._drafts: dict[str, Data] = {}

    def beside(self, candidate: Candidate, case: str, oracle: Oracle) -> list[tuple[Path, Any]]:
        """(path, value) of all that differs; nothing where nothing can be drafted."""
        if case not in self._drafts:
            self._drafts[case] = self._drafted(oracle)
        found = otherwise(self._drafts[case], candidate.data)
        return [one for path, value in found for one in _said(path, value, candidate)]

    def between(self, base: str, case: str, oracles: Mapping[str, Oracle]) -> list[tuple[Path, Any]]:
        """(path, value) of what the draft of a case says otherwise than that of another one."""
        for name in (base, case):
            if name not in self._drafts:
                self._drafts[name] = self._drafted(oracles[name])
        here, there = self._drafts[case], self._drafts[base]
        return [*otherwise(here, there), *_by_default(here, there, oracles[case].reference.config)]

    def _drafted(self, oracle: Oracle) -> Data:
        with TemporaryDirectory() as folder:
            oracle.reference.save(File(folder))
            try:
                drafted = draft(File(folder), self.root, self.name, write=False)
                data = load(drafted.text, drafted.spec).plain()
            except CodegenError:
                return {}
        return {key: value for key, value in data.items() if key not in FRAME}


def _by_default(new: Data, old: Data, config: Any) -> Iterator[tuple[Path, Any]]:
    """What is true by default of what only the old one says."""
    known = {path: key for name, key in keys(Spec).items() for path, key in keys_below((name,), key, new)}
    for path, _ in Body(old).leaves():
        chain = known[path].chain if path in known and Body(new).get(*path) is None else ()
        fields = (one for one in chain if not one.startswith("config.") or hasattr(config, one.removeprefix("config.")))
        yield from ((path, _read(one)) for one in list(fields)[:1])


def _read(text: str) -> Any:
    """A default as it is written in a spec."""
    return {"True": True, "False": False, "None": "none"}.get(text, text)


def _said(path: Path, value: Any, candidate: Candidate) -> Iterator[tuple[Path, Any]]:
    """A bare `true` for what has keys of its own, by the words that it means: the other keys stay as they are."""
    before = candidate.body.get(*path)
    key = key_at(path, candidate.data)
    section = None if key is None else key.section
    words = {name: one.words[0] for name, one in keys(section).items() if one.type == "choice"} if section else {}
    others = [((*path, name), words[name]) for name, said in _items(before) if words.get(name, said) != said]
    yield from others if value is True and others else [(path, value)]


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def otherwise(new: Mapping[str, Any], old: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of what one text says and another does not."""
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            yield from otherwise(value, before, (*path, key))
        elif value != before:
            yield (*path, key), value
