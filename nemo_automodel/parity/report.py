"""Results for people (a table) and for programs (JSON)."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from nemo_automodel.parity.compare import Check, failures
from nemo_automodel.parity.proof import Result, first_difference
from nemo_automodel.parity.sensitivity import CAUGHT, REFUSED, SURVIVED, Verdict

FIGURE = len("1.2e-07")  # which no table may cut, however narrow the terminal
LEVELS = ("state dict", "components", "end to end", "components in bf16", "bf16")


def proof_json(name: str, results: Sequence[Result]) -> str:
    """The whole proof as one JSON document."""
    return json.dumps(
        {
            "name": name,
            "passed": all(result.passed for result in results),
            "first_difference": first_difference(results),
            "results": [_plain(result) for result in results],
        },
        indent=1,
    )


def _plain(result: Result) -> dict[str, Any]:
    checks = [{**asdict(check), "error": _number(check.error), "passed": check.passed} for check in result.checks]
    return {
        "variant": result.variant,
        "backend": result.backend,
        "passed": result.passed,
        "without_counterpart": dict(result.within),
        "checks": checks,
    }


def _number(error: float) -> float | str:
    return error if error < float("inf") else "inf"  # JSON has no infinity


def print_proof(name: str, results: Sequence[Result], console: Console) -> None:
    """One row for each variant and backend, one column for each level: its worst figure; then what fails."""
    caption = "worst error of a level; bf16: ratio of distances"
    table = Table(title=f"{name} against its reference", caption=caption, padding=(0, 1, 0, 0), box=SIMPLE)
    for column in ("variant", "backend", *LEVELS, "checks"):
        table.add_column(
            column, overflow="fold", min_width=max(FIGURE, *map(len, column.split())) if column in LEVELS else None
        )
    for result in results:
        cells = [_worst([check for check in result.checks if _level(check) == level]) for level in LEVELS]
        table.add_row(result.variant, result.backend, *cells, str(len(result.checks)))
    console.print(table)
    for result in results:
        for check in failures(result.checks)[:5]:
            console.print(f"{result.variant}, {result.backend}: {check}", style="red", markup=False)
    for line in _judged_within(results):
        console.print(line, style="dim", markup=False)
    if first := first_difference(results):
        console.print(f"differs first: {first}", style="bold red", markup=False)
    elif all(result.passed for result in results):
        console.print(f"{name}: {sum(len(result.checks) for result in results)} checks, all within their bounds")


def _judged_within(results: Sequence[Result]) -> list[str]:
    """One line for each kind of component that the reference does not have, or cuts elsewhere."""
    found = {(path, around) for result in results for path, around in result.within.items()}
    kinds = {(re.sub(r"\b\d+\b", "*", path), re.sub(r"\b\d+\b", "*", around)) for path, around in found}
    return [f"no counterpart: {path}, judged as part of {around or 'the model'}" for path, around in sorted(kinds)]


def _level(check: Check) -> str:
    return check.level.partition(",")[0]


def _worst(checks: Iterable[Check]) -> str:
    checks = list(checks)
    if not checks:
        return "-"
    worst = max(checks, key=lambda check: check.error / check.bound if check.bound else check.error)
    figure = "exact" if not worst.error and not worst.bound else f"{worst.error:.1e}"
    return f"[green]{figure}[/green]" if not failures(checks) else f"[red]{worst.error:.1e}[/red]"


def sensitivity_json(name: str, verdicts: Sequence[Verdict]) -> str:
    """Every mutant with its outcome."""
    counts = {outcome: sum(v.outcome == outcome for v in verdicts) for outcome in (CAUGHT, REFUSED, SURVIVED)}
    mutants = [{"mutation": v.mutation, "outcome": v.outcome, "reason": v.reason} for v in verdicts]
    return json.dumps({"name": name, **counts, "unexplained": len(unexplained(verdicts)), "mutants": mutants}, indent=1)


def unexplained(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Survivors that have no accepted reason."""
    return [verdict for verdict in verdicts if verdict.outcome == SURVIVED and not verdict.excused]


def print_sensitivity(name: str, verdicts: Sequence[Verdict], console: Console) -> None:
    """Counts, and every survivor with its reason."""
    table = Table(title=f"{name}: mutations of its spec")
    for outcome in (CAUGHT, REFUSED, SURVIVED):
        table.add_column(outcome)
    table.add_row(*(str(sum(v.outcome == outcome for v in verdicts)) for outcome in (CAUGHT, REFUSED, SURVIVED)))
    console.print(table)
    for verdict in verdicts:
        if verdict.outcome == SURVIVED:
            style = None if verdict.excused else "red"
            console.print(f"survived: {verdict.mutation}: {verdict.reason}", style=style, markup=False)
