"""Checkpoints of two families: images cropped to one size, and images of any size."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recipes.images import checkpoints
from tests.recipes.short import write_image_recipe

FAMILIES: dict[str, Callable[[Path], Path]] = {"llava": checkpoints.llava, "lighton_ocr": checkpoints.lighton_ocr}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in FAMILIES.items()}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def image_recipe(tmp_path: Path, written: dict[str, Path], family: str) -> Path:
    """The generated example, cut down to seconds."""
    return write_image_recipe(tmp_path, family, written[family], "trainer.max_steps=6", "trainer.save_steps=3")


@pytest.fixture
def llava_recipe(tmp_path: Path, written: dict[str, Path]) -> Path:
    return write_image_recipe(tmp_path, "llava", written["llava"], "trainer.max_steps=2", "trainer.save_steps=2")
