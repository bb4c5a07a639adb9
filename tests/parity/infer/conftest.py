"""Scratch trees without the spec that is looked for, and tiny checkpoints of it."""

import shutil

import pytest

from nemo_automodel.parity.__main__ import quiet
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.sensitivity import Bench
from tests.parity.conftest import ROOT


class Hidden:
    """A committed spec, hidden: a tree with all others, and a checkpoint that transformers' class wrote."""

    def __init__(self, name, folder):
        self.name, self.tree = name, folder
        shutil.copytree(ROOT / "specs", folder / "specs", ignore=lambda _, names: {f"{name}.yaml"} & set(names))
        (folder / "pyproject.toml").touch()
        self.project = open_project(name, ROOT)
        self.bench = Bench(self.project)
        self.checkpoint = folder / "checkpoint"
        self.bench.variants["base"].reference.folder  # noqa: B018 (written when it is asked for)
        shutil.copytree(self.bench.variants["base"].reference.folder, self.checkpoint)


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    quiet()
    made = {}

    def hide(name):
        if name not in made:
            made[name] = Hidden(name, tmp_path_factory.mktemp(name))
        return made[name]

    return hide
