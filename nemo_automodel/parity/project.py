"""Finds what a spec names: its generated class, its config class, its reference, its tiny configs."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nemo_automodel.components.models
from codegen.configs import table
from codegen.generate import read_any
from codegen.language.loaded import LoadedSpec
from codegen.language.vision.loaded import LoadedImageText
from codegen.places import HERE, places
from codegen.tiny import image_text
from codegen.tiny.configs import configs
from nemo_automodel.parity.subject import Subject, subject

MODELS = "nemo_automodel.components.models"
LIBRARIES = ("nemo_automodel.components.", "transformers.")  # may be named beside what lies in the tree


@dataclass(frozen=True)
class Project:
    """One spec of a tree, read. `configs` are its strong tiny configs by name."""

    root: Path
    spec: LoadedSpec | LoadedImageText
    configs: dict[str, dict[str, Any]]

    @property
    def config_path(self) -> str:
        """Dotted name of the config class."""
        declared = self.spec.config
        if declared.fields is None:
            return f"transformers:{declared.class_name}"
        return f"{places(str(self.root)).module(self.spec.name, 'config')}:{declared.class_name}"

    def subject(self) -> Subject:
        """The generated class beside its reference. Raises ImportError where nothing has been generated yet."""
        model = f"{places(str(self.root)).module(self.spec.name, 'model')}:{self.spec.architectures[0]}"
        return subject(model, self.config_path, **self.spec.reference)


def open_project(name: str, root: Path) -> Project:
    """The spec `specs/<name>.yaml` of a tree, whose packages become importable.

    Raises SpecError for an invalid spec, OSError for one that cannot be read, LookupError for one that names classes
    outside the tree.
    """
    root = root.resolve()
    spec = read_any(root / places(str(root)).specs / f"{name}.yaml", root)
    _refuse_strangers(spec, root)
    make_importable(root)
    found = configs(spec, table()) if isinstance(spec, LoadedSpec) else image_text.configs(spec)
    return Project(root, spec, found)


def make_importable(root: Path) -> None:
    """The packages of a tree's models."""
    at = places(str(root))
    sys.path[:0] = [str(root), *([str(root / at.source)] if at.source else [])]
    models, known = str(root / at.models), nemo_automodel.components.models.__path__
    if models not in known:
        known.insert(0 if at == HERE else len(known), models)  # mutants find their text model by the library's name


def _refuse_strangers(spec: LoadedSpec | LoadedImageText, root: Path) -> None:
    """A spec alone must not choose which of the installed modules run."""
    overrides = spec.overrides if isinstance(spec, LoadedSpec) else {}
    for path in (*overrides.values(), *filter(None, [spec.reference.get("reference")])):
        module, _, _ = path.partition(":")
        files = [folder.joinpath(*module.split(".")) for folder in (root, root / places(str(root)).source)]
        is_here = any(file.with_suffix(".py").is_file() or (file / "__init__.py").is_file() for file in files)
        if not is_here and not f"{module}.".startswith(LIBRARIES):
            raise LookupError(f"{spec.path}: {path}: the tree has no such module; write it at {files[-1]}.py")
