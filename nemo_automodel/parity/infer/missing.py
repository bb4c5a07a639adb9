"""Every model type of the installed transformers that no spec generates, searched for one after another."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from codegen.run import inventory
from codegen.run.missing import generated_types, lacking_values
from codegen.run.pipeline import Options

PROVEN, OPEN, NOTHING = "proven", "not proven", "not begun"
GRACE = 180  # seconds beyond a search's own, for what it imports, its checkpoint and its last trial


@dataclass(frozen=True)
class Outcome:
    """What became of one type. said: what proves it, where it ends, or why it did not begin. lacks: what the language
    lacks for it, as `codegen list --missing` says it."""

    model_type: str
    outcome: str
    said: str
    seconds: float = 0.0
    lacks: str = ""

    def __str__(self) -> str:
        lacks = f" (lacking: {self.lacks})" if self.lacks and self.outcome != PROVEN else ""
        return f"{self.model_type:28} {self.outcome:10}  {self.seconds:5.0f} s  {self.said}{lacks}"


def missing_types(root: Path) -> list[str]:
    """Of the causal and image-text mappings of the installed transformers, in order: those that no spec of the tree
    generates."""
    have = generated_types(inventory.rows(Options(str(root))), root)
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES}
    return sorted(known - have)


def outcomes(types: Sequence[str], root: Path, seconds: float) -> Iterator[Outcome]:
    """As they come, two searches at a time, each a process of its own: what one ends with ends no other. What is proven
    is written. seconds: how long one may search."""
    lacking = lacking_values()
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        runs = {pool.submit(_searched, one, root, seconds): one for one in types}
        for run in as_completed(runs):
            outcome, said, taken = run.result()
            yield Outcome(runs[run], outcome, said, taken, lacking.get(runs[run], ""))


def _searched(model_type: str, root: Path, seconds: float) -> tuple[str, str, float]:
    command = [sys.executable, "-m", "nemo_automodel.parity.infer", model_type, "--root", str(root), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*command, "--seconds", str(seconds)],
            env=environment,
            timeout=seconds + GRACE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return NOTHING, f"ended after {seconds + GRACE:.0f} s", seconds + GRACE
    if done.returncode in (0, 1) and done.stdout:
        return told(json.loads(done.stdout))
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return NOTHING, said[-1].removeprefix(f"{model_type}: ") if said else f"exit code {done.returncode}", 0.0


def told(report: Mapping[str, Any]) -> tuple[str, str, float]:
    """(outcome, what is said of it, seconds) of the report of a search."""
    seconds, stop = report["seconds"], report["open"]
    if stop is None:
        return PROVEN, f"{len(report['configurations'])} configurations; wrote {report['spec']}", seconds
    first = "".join(f": {where}, {error:.1e}" for where, error in [*stop["components"].items()][:1])
    return OPEN, f"{stop['what']}, {stop['configuration'] or 'spec'}{first}", seconds


def summary(found: Sequence[Outcome]) -> str:
    """How many ended how, and the names of what is proven."""
    ended = [f"{sum(one.outcome == how for one in found)} {how}" for how in (PROVEN, OPEN, NOTHING)]
    proven = sorted(one.model_type for one in found if one.outcome == PROVEN)
    return f"{len(found)} model types without a spec: {', '.join(ended)}" + "".join(f"\n  {one}" for one in proven)
