"""A spec of images and text in the making."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path as File
from typing import Any

from codegen.configs import ConfigClass, table
from codegen.language.check import read_spec
from codegen.language.load import load
from codegen.language.loaded import LoadedSpec, config_class
from codegen.language.spec import Spec
from codegen.language.vision.check import read_image_text
from codegen.language.vision.loaded import LoadedImageText
from codegen.language.vision.text import SPEC
from codegen.new.vision.half import default_at
from codegen.plan.vision.asked import Asked
from codegen.plan.vision.disk import prefixes
from codegen.plan.vision.model import build_image_text
from codegen.plan.vision.types import ImageTextPlan
from codegen.render.image_text import model_files
from codegen.tiny.configs import SIZES
from codegen.tiny.image_text import configs, outside
from nemo_automodel.parity.infer.candidate import Candidate
from nemo_automodel.parity.infer.variants import Config, merged, of_whole, structural_among
from nemo_automodel.parity.mutant import Data, Path
from nemo_automodel.parity.mutate_written import of_language
from nemo_automodel.parity.mutations import OVERLAYS
from nemo_automodel.parity.sandbox import PLACES


class ImageCandidate(Candidate):
    """`root` is the tree in which the spec of its text stands."""

    def __init__(self, data: Data, path: str, root: File) -> None:
        super().__init__(data, path)
        self.root = root

    def with_(self, data: Data) -> "ImageCandidate":
        return ImageCandidate(data, self.path, self.root)

    @cached_property
    def spec(self) -> LoadedImageText:  # type: ignore[override]
        return read_image_text(load(self.text, self.path), self.root / self.path, self.root)

    @cached_property
    def config(self) -> ConfigClass:
        return self.spec.config_class

    @cached_property
    def plan(self) -> ImageTextPlan:
        return build_image_text(self.spec, PLACES)

    @cached_property
    def files(self) -> dict[str, str]:
        return model_files(self.plan, lambda source, _: source)

    def configs(self) -> dict[str, Config]:
        """Beside those of what it reads: a placeholder beyond the vocabulary."""
        found = configs(self.spec)
        return found | {"variant_outside": found["base"] | outside(self.config, found["base"])}

    def unread(self) -> list[str]:
        """All: what is read of them is changed by no strong config but in a word or two."""
        return self.structural()

    def structural(self) -> list[str]:
        """Of the whole, those that configs carry and no class declares too; of the text, where its class is not that of
        the text spec, which is proven by itself."""
        inner: list[str] = []
        _, class_name, is_open = self.config.parts["text_config"]
        below = read_spec(self.text_file, self.root)
        if self.spec.is_overlaid or not is_open and class_name != below.config.class_name:
            fields = self.config.value("text_config") if not is_open else config_class(self.spec.text, table()).fields
            inner = [f"text_config.{name}" for name in structural_among(fields, SIZES)]
        return [*of_whole(self.config), *sorted(self.config.published), *inner]

    @property
    def text_file(self) -> File:
        """The spec of its text."""
        return (self.root / self.path).with_name(f"{self.spec.text_spec}.yaml")

    def place(self, part: str, memory: bool) -> str:
        """Where the text, the tower (`vision`) or the projector begins, in memory or on disk."""
        return prefixes(Asked(self.spec))[part][memory]

    def model(self, memory: bool = False) -> str:
        return self.place("text", memory)

    def flats(self) -> Iterator[Spec]:
        return iter(self.spec.text.flat.values())


class HalfCandidate(Candidate):
    """The text half of one: the spec below with what is laid on it, in the places where the whole has it."""

    def __init__(self, whole: ImageCandidate, data: Data) -> None:
        super().__init__(data, whole.spec.text.path)
        self.whole = whole

    @classmethod
    def of(cls, whole: ImageCandidate) -> "HalfCandidate":
        below: Data = load(whole.text_file.read_bytes(), whole.text_file.name).plain()
        laid = whole.body.section("text")
        return cls(whole, merged(below, {name: value for name, value in laid.items() if name != SPEC}))

    @cached_property
    def spec(self) -> LoadedSpec:
        return self.whole.spec.text

    @cached_property
    def config(self) -> ConfigClass:
        return config_class(self.spec, table())

    @property
    def problems(self) -> list[str]:  # type: ignore[override]
        return self.whole.problems

    def model(self, memory: bool = False) -> str:
        return self.whole.model(memory)

    def defaults(self) -> Iterator[tuple[Path, Any]]:
        """What takes back what the spec below says, key by key."""
        for path, _ in of_language(self.data):
            if path[0] in OVERLAYS and len(path) > 1:
                continue  # they replace each other whole
            if (instead := default_at(path, self.spec, self.config)) is not None:
                yield path, instead
