"""What the specs of the tree say at each path of the language: the likeliest things to try."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path as File
from typing import Any

from codegen.errors import SpecError
from codegen.language.check import specs_of_images, specs_of_text
from codegen.language.load import load
from codegen.new.witness import plain_path
from nemo_automodel.parity.mutant import Data, Path
from nemo_automodel.parity.mutate_written import of_language
from nemo_automodel.parity.mutations import OVERLAYS


class Donors:
    """Values by path, and overlays whole; each with how many specs say so.

    of_text: those of the text halves, where these are specs that take images.
    """

    def __init__(self, specs: File, without: str, images: bool = False) -> None:
        self.of_text = Donors(specs, without) if images else self
        self._values: dict[Path, Counter[str]] = {}
        self._read: dict[str, Any] = {}
        for file in specs_of_images(specs) if images else specs_of_text(specs):
            if file.stem != without:
                try:
                    self._take(load(file.read_bytes(), file.name).plain())
                except SpecError:
                    continue  # another's mistake is no reason against this spec

    def _take(self, data: Data) -> None:
        said: set[tuple[Path, str]] = set()
        for path, value in of_language(data):
            plain = plain_path(path)
            if plain and "why" not in plain and not any(isinstance(part, int) for part in plain):
                self._read[repr(value)] = value
                said.add((plain, repr(value)))
            if path in ((name,) for name in OVERLAYS):
                for entry in value if isinstance(value, list) else [value]:
                    self._read[repr(entry)] = entry
                    said.add((path, repr(entry)))
        for path, text in said:
            self._values.setdefault(path, Counter())[text] += 1

    def below(self, *scope: Any) -> Iterator[tuple[int, Path, Any]]:
        """(how often, path, value) for the paths below a scope, most frequent first."""
        found = [
            (count, path, self._read[text])
            for path, values in self._values.items()
            if path[: len(scope)] == scope
            for text, count in values.items()
        ]
        return iter(sorted(found, key=lambda one: -one[0]))
