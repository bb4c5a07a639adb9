"""A spec of images and text after loading and checking."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from codegen.configs import ConfigClass
from codegen.errors import Location
from codegen.frozen import Frozen
from codegen.language.frame import ABOUT_THE_REFERENCE
from codegen.language.load import Node
from codegen.language.loaded import LoadedSpec
from codegen.language.spec import ConfigDeclaration
from codegen.language.values import NOWHERE
from codegen.language.vision.sections import ImageTextSpec


class LoadedImageText(Frozen):
    """Everything that a spec file says, with the spec of its text half, which is that of `text_spec`, as it is or with
    an overlay."""

    path: str
    name: str
    architectures: tuple[str, ...]
    config: ConfigDeclaration
    config_class: ConfigClass
    summary: str
    docs: Mapping[str, Any]
    tests: Mapping[str, Any]
    spec: ImageTextSpec
    text: LoadedSpec
    text_spec: str
    root: Node = field(default=Node({}, NOWHERE), compare=False, repr=False)
    borrows: bool = False  # the spec of its text is one of the library's, which has the model of it

    @property
    def is_overlaid(self) -> bool:
        """Whether the text half is one of its own."""
        return self.text.name != self.text_spec

    def place(self, path: str) -> Location:
        """Where a dotted key stands, or the deepest one above it that is written."""
        return self.root.find(tuple(int(part) if part.isdigit() else part for part in path.split(".")))

    @property
    def reference(self) -> dict[str, Any]:
        """What `tests` says of the reference and how it is run."""
        return {name: self.tests[name] for name in ABOUT_THE_REFERENCE if name in self.tests}
