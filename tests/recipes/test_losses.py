"""The picture of a run's losses, and where losses are reported."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_automodel.recipes import arguments
from nemo_automodel.recipes.config import load_recipe
from nemo_automodel.recipes.finetune import main
from nemo_automodel.recipes.losses import HEIGHT, MARKS, WIDTH, draw, text_plot

HISTORY = [
    {"step": 1, "loss": 4.0, "grad_norm": 1.0},
    {"step": 2, "loss": 3.0},
    {"step": 2, "eval_loss": 3.5},
    {"step": 3, "loss": float("nan")},
    {"step": 5, "loss": 2.0},
    {"step": 5, "train_loss": 3.0},
]
PLOT = """\
          4 |*
            |
            |
            |
            |                  o
            |
            |
            |                  *
            |
            |
            |
            |
            |
            |
            |
          2 |                                                                       *
            +------------------------------------------------------------------------
             1                                                                 step 5
             * training, last 2
             o evaluation, last 3.5
"""


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


class Axes:
    """Notes what is plotted."""

    def __init__(self) -> None:
        self.lines: dict[str, list[tuple[float, ...]]] = {}

    def plot(self, steps: tuple[int, ...], values: tuple[float, ...], label: str, marker: str | None) -> None:
        self.lines[label] = [steps, values]

    def legend(self) -> None: ...

    def grid(self, alpha: float) -> None: ...


class Figure:
    """In the place of matplotlib's: the file holds what was plotted."""

    def __init__(self, **options: Any) -> None:
        self.axes = Axes()

    def add_subplot(self, **labels: str) -> Axes:
        return self.axes

    def savefig(self, path: Path, dpi: int) -> None:
        path.write_text(repr(self.axes.lines))


def test_the_plot_in_characters(tmp_path: Path, without_matplotlib: None) -> None:
    assert draw(HISTORY, tmp_path) == tmp_path / "loss.txt"
    assert (tmp_path / "loss.txt").read_text() == PLOT


def test_matplotlib_draws_a_picture(tmp_path: Path) -> None:
    (tmp_path / "loss.txt").write_text("of an earlier run")
    assert draw(HISTORY, tmp_path) == tmp_path / "loss.png"
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG") and not (tmp_path / "loss.txt").exists()


def test_matplotlib_is_given_what_was_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("matplotlib.figure")
    module.Figure = Figure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "matplotlib", ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", module)
    draw(HISTORY, tmp_path)
    lines = {"training": [(1, 2, 5), (4.0, 3.0, 2.0)], "evaluation": [(2,), (3.5,)]}
    assert (tmp_path / "loss.png").read_text() == repr(lines)


def test_the_other_file_of_an_earlier_run_goes(tmp_path: Path, without_matplotlib: None) -> None:
    (tmp_path / "loss.png").write_bytes(b"of an earlier run")
    draw(HISTORY, tmp_path)
    assert not (tmp_path / "loss.png").exists()


def test_a_run_without_losses_leaves_no_picture_of_an_earlier_one(tmp_path: Path, without_matplotlib: None) -> None:
    draw(HISTORY, tmp_path)
    assert draw([{"step": 1, "loss": float("nan")}], tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_nothing_is_drawn_where_nothing_was_logged(tmp_path: Path) -> None:
    assert draw([{"step": 1, "train_loss": 1.0}, {"step": 2, "loss": float("inf")}], tmp_path) is None
    assert not list(tmp_path.iterdir())


FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30)
POINTS = st.dictionaries(st.integers(0, 10**9), FINITE, min_size=1).map(lambda points: sorted(points.items()))


@settings(deadline=None)
@given(POINTS, st.none() | POINTS)
def test_every_series_shows_within_the_axes(
    loss: list[tuple[int, float]], other: list[tuple[int, float]] | None
) -> None:
    series = {"loss": loss} | ({"eval_loss": other} if other else {})
    rows = text_plot(series).splitlines()[:HEIGHT]
    assert all(len(row) <= 13 + WIDTH for row in rows) and all(row[12] == "|" for row in rows)
    last = list(series)[-1]
    assert any(MARKS[last] in row[13:] for row in rows)


def reported(recipe: Path, monkeypatch: pytest.MonkeyPatch, installed: bool, *overrides: str) -> list[str]:
    """Where a run reports to, with TensorBoard or without."""
    monkeypatch.setattr(arguments, "is_tensorboard_available", lambda: installed)
    monkeypatch.setattr(arguments, "get_reporting_integration_callbacks", lambda names: names)
    return arguments.training_arguments(load_recipe(recipe, overrides)).report_to


def test_losses_go_to_tensorboard_where_it_is_installed(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reported(recipe, monkeypatch, True) == ["tensorboard"]
    assert reported(recipe, monkeypatch, False) == []


def test_what_the_recipe_says_goes_before(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reported(recipe, monkeypatch, True, "trainer.report_to=none") == []
    assert reported(recipe, monkeypatch, True, "trainer.report_to=[mlflow]") == ["mlflow"]
    assert reported(recipe, monkeypatch, False, "trainer.report_to=tensorboard") == ["tensorboard"]


def test_a_run_leaves_a_picture_beside_its_state(recipe: Path) -> None:
    assert main([str(recipe), "trainer.max_steps=2"]) == 0
    output = recipe.parent / "out"
    assert (output / "trainer_state.json").is_file()
    assert (output / "loss.png").is_file()
    has_tensorboard = find_spec("tensorboard") is not None
    assert bool(list(output.glob("runs/*/events.out.tfevents.*"))) == has_tensorboard
