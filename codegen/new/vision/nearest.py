"""Which spec of images and text a model resembles: by fields, by what its class is given, by what its projector has."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import SpecError
from codegen.frozen import Frozen
from codegen.generate import read_any
from codegen.language.check import of_images
from codegen.language.load import load
from codegen.language.vision.equations import parts_called
from codegen.language.vision.loaded import LoadedImageText
from codegen.lent import all_specs
from codegen.memory import last_run
from codegen.new.values import GENERIC, PLAIN

NEAR = 0.6  # less alike, what nothing shows is left to the defaults
PARTS = ("text_config", "vision_config")


class Signs(Frozen):
    """What tells models of images and text apart, as words."""

    words: frozenset[str]

    def alike(self, other: "Signs") -> float:
        """How much of both is common, 0 to 1."""
        both = self.words | other.words
        return len(self.words & other.words) / len(both) if both else 0.0


class Candidate(Frozen):
    """A spec of images and text: as loaded, as written, how alike it is."""

    loaded: LoadedImageText
    written: Mapping[str, Any]
    alike: float

    @property
    def path(self) -> str:
        return self.loaded.path

    @property
    def is_near(self) -> bool:
        return self.alike >= NEAR

    @property
    def model(self) -> Mapping[str, Any]:
        """What the model of its class tells by itself."""
        return self.loaded.config_class.model


def signs(fields: Mapping[str, Any], model: Mapping[str, Any], parts: Iterable[str]) -> Signs:
    """fields: of the whole config; model: what its class tells; parts: names in the projector."""
    return Signs(frozenset(_words(fields, model, parts)))


def _words(fields: Mapping[str, Any], model: Mapping[str, Any], parts: Iterable[str]) -> Iterator[str]:
    silent = GENERIC | PLAIN
    yield from (f"field {name}" for name in fields if name not in silent and name not in PARTS)
    tower: Mapping[str, Any] = fields.get(PARTS[1]) or {}
    yield from (f"field of the tower {name}" for name in tower if name not in silent)
    for kind in ("takes", "batch", "outputs"):
        yield from (f"{kind} {name}" for name in model.get(kind, ()))
    yield from (f"{kind} {model[kind]}" for kind in ("tower", "axes", "processor") if kind in model)
    yield from (f"part {name}" for name in parts)


def rank(found: Signs, root: Path) -> list[Candidate]:
    """The specs of images and text, most alike first; those that do not load are left out."""
    paths = [path for path in all_specs(root) if path.is_file() and of_images(path)]
    candidates = [one for path in paths if (one := _candidate(path, found, root)) is not None]
    return sorted(candidates, key=lambda one: (-round(one.alike, 6), len(one.written), one.path))


def _candidate(path: Path, found: Signs, root: Path) -> Candidate | None:
    try:
        loaded = read_any(path, root)
    except SpecError:
        return None
    if not isinstance(loaded, LoadedImageText):
        return None
    config: ConfigClass = loaded.config_class
    own = signs(config.fields, config.model, parts_called(loaded.spec.equations))
    written = load(last_run.content(str(path)), loaded.path).plain()
    return Candidate(loaded, written, found.alike(own))
