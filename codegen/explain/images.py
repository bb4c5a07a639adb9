"""Explains specs of images and text: their own sections, and keys that they lay on the spec of their text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codegen.explain.explaining import Subject
from codegen.explain.flips import get, replaced
from codegen.language.check import specs_of_text
from codegen.language.load import Node, load
from codegen.language.vision.check import read_image_text
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.sections import ImageTextSpec
from codegen.language.vision.text import HALF, SPEC
from codegen.meaning import Meaning, meaning
from codegen.meaning import Path as Keys


def image_subject(shown: str, node: Node, root: Path) -> "ImageTextSubject":
    """A spec of images and text. Raises SpecError where it is invalid."""
    spec = read_image_text(node, root / shown, root)
    return ImageTextSubject(shown, node, spec, spec.config_class, root, ImageTextSpec)


class ImageTextSubject(Subject):
    """A spec of images and text."""

    def read(self, text: str) -> LoadedImageText:
        return read_image_text(load(text, self.shown), self.root / self.shown, self.root)

    def others(self, written: dict[str, Any], path: Keys) -> Iterator[tuple[str, dict[str, Any]]]:
        """Of the text, with other specs of the tree besides."""
        yield from super().others(written, path)
        if path in ((HALF,), (HALF, SPEC)) and not isinstance(get(written, path), dict):
            for spec in specs_of_text(self.root / Path(self.shown).parent):
                if spec.stem != get(written, path):
                    yield f"{'.'.join(path)}: {spec.stem}", replaced(written, path, spec.stem, self.declared)

    def meaning(self, path: Keys) -> Meaning:
        """What the language says; below `text`, that of the text."""
        assert isinstance(self.spec, LoadedImageText)
        if path[:1] == (HALF,) and len(path) > 1 and path[1] != SPEC:
            return self.of_text(path[1:])
        return meaning(path, self.spec.spec)

    def of_text(self, path: Keys) -> Meaning:
        """The meaning of a key that is laid on the text spec."""
        assert isinstance(self.spec, LoadedImageText)
        return Subject(self.shown, self.node, self.spec.text, self.config, self.root).meaning(path)
