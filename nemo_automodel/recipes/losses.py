"""The losses of a run as a picture: with matplotlib where it is installed, else as a plot in characters."""

from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

PICTURE, TEXT = "loss.png", "loss.txt"
NAMES = {"loss": "training", "eval_loss": "evaluation"}
MARKS = {"loss": "*", "eval_loss": "o"}
WIDTH, HEIGHT = 72, 16  # characters between the axes
Points = list[tuple[int, float]]


def draw(history: Iterable[Mapping[str, Any]], folder: Path) -> Path | None:
    """Draw the losses of a Trainer's `log_history` (one entry a log: `step`, and `loss` or `eval_loss`) into a folder.

    Returns:
        `loss.png`, else `loss.txt`; what an earlier run left is removed. None where nothing finite was logged.
    """
    entries = list(history)
    series = {name: _points(entries, name) for name in NAMES}
    series = {name: points for name, points in series.items() if points}
    if not series:
        for name in (PICTURE, TEXT):
            (folder / name).unlink(missing_ok=True)  # of an earlier run: it would pass for this one's
        return None
    drawn, other = _drawn(series, folder)
    other.unlink(missing_ok=True)
    return drawn


def _drawn(series: Mapping[str, Points], folder: Path) -> tuple[Path, Path]:
    """Draws one of the two files; returns it, and the other one."""
    picture, text = folder / PICTURE, folder / TEXT
    try:
        from matplotlib.figure import Figure  # an extra, and a second to import
    except ImportError:
        text.write_text(text_plot(series), encoding="utf-8")
        return text, picture
    _plotted(Figure(figsize=(7, 4), layout="constrained"), series).savefig(picture, dpi=120)
    return picture, text


def _points(entries: list[Mapping[str, Any]], name: str) -> Points:
    """Step and value, by step; what is not finite has no place in a plot."""
    return sorted((entry["step"], entry[name]) for entry in entries if isfinite(entry.get(name, float("nan"))))


def _plotted(figure: Any, series: Mapping[str, Points]) -> Any:
    """The figure, with a line for each series."""
    axes = figure.add_subplot(xlabel="step", ylabel="loss")
    for name, points in series.items():
        axes.plot(*zip(*points, strict=True), label=NAMES[name], marker="." if len(points) < 50 else None)
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def text_plot(series: Mapping[str, Points]) -> str:
    """The same in characters: losses upwards, steps to the right, and below what the marks mean."""
    steps = [step for points in series.values() for step, _ in points]
    values = [value for points in series.values() for _, value in points]
    rows = [[" "] * WIDTH for _ in range(HEIGHT)]
    for name, points in series.items():
        for step, value in points:
            row = HEIGHT - 1 - _place(value, min(values), max(values), HEIGHT)
            rows[row][_place(step, min(steps), max(steps), WIDTH)] = MARKS[name]
    labels = {0: f"{max(values):.4g}", HEIGHT - 1: f"{min(values):.4g}"}
    lines = [f"{labels.get(number, ''):>11} |{''.join(row)}".rstrip() for number, row in enumerate(rows)]
    first, last = f"{min(steps)}", f"step {max(steps)}"
    lines += [f"{'':11} +{'-' * WIDTH}", f"{'':13}{first}{last:>{WIDTH - len(first)}}"]
    lines += [f"{'':13}{MARKS[name]} {NAMES[name]}, last {points[-1][1]:.4g}" for name, points in series.items()]
    return "\n".join(lines) + "\n"


def _place(value: float, low: float, high: float, count: int) -> int:
    """Which of so many equal places between two numbers a value falls into."""
    return 0 if high == low else round((value - low) / (high - low) * (count - 1))
