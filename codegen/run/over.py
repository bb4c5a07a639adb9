"""Which specs of images and text stand over the spec of a text."""

from pathlib import Path

from codegen.errors import SpecError
from codegen.generate import read_any
from codegen.language.check import is_of_images
from codegen.language.load import load
from codegen.language.vision.loaded import LoadedImageText
from codegen.places import places


def over(root: Path, text: str) -> list[str]:
    """Their names. A spec that is wrong stands over none: `codegen check` says what is wrong with it."""
    files = sorted((root / places(str(root)).specs).glob("*.yaml"))
    return [file.stem for file in files if file.stem != text and file.is_file() and _text(file, root) == text]


def _text(file: Path, root: Path) -> str | None:
    """The name of the spec that one of images and text is over; None for others."""
    try:
        if not is_of_images(load(file.read_text("utf-8", "replace"), file.name)):
            return None
        loaded = read_any(file, root)
    except SpecError:
        return None
    return loaded.text_spec if isinstance(loaded, LoadedImageText) else None
