"""Tiny checkpoints of models of images and text, as transformers writes them."""

from functools import cache
from pathlib import Path

from codegen.generate import read_any
from codegen.language.check import of_images
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.reference import Reference

ROOT = Path(__file__).parents[3]
FAMILIES = [path.stem for path in sorted((ROOT / "specs").glob("*.yaml")) if of_images(path)]


@cache
def committed(name):
    """A spec that stands here."""
    return read_any(ROOT / f"specs/{name}.yaml", ROOT)


def save(name, folder):
    """The reference of a spec, with random weights."""
    project = open_project(name, ROOT)
    folder.mkdir(parents=True)
    Reference(project.subject(), project.configs["base"]).save(folder)
