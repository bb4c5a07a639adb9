"""Judge mutated specs: `python -m tests.codegen.fuzz.run --count 20000` in process, `--cli 500` through the command.

Each spec is read, checked, planned and rendered in a child with a limit of time and memory. It passes if it is
accepted, or refused by problems of which each reads `path:line:col: key: what; cure`. Anything else (another exception,
no end, a message of another form) is a finding, told with its seed: `--seed N --count 1 --show` shows the spec.
"""

import argparse
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from codegen.errors import Problem, SpecError
from codegen.generate import plan_spec
from codegen.language.check import read_text
from codegen.memory import formatted
from codegen.memory.formatter import Formatting
from codegen.memory.store import Store
from codegen.render.files import render
from tests.codegen.fuzz.mutants import ROOT, mutant
from tests.codegen.scratch.project import INDEX, Project

SECONDS, BYTES = 10, 2 * 2**30
LONGEST = 400  # of a message: values are echoed in at most 80 characters, but lists of what is known are long
FORM = re.compile(r"[^:\n]+:[1-9]\d*:[1-9]\d*: [^:\s][^:\n]*: [^\n]+; [^\n]+")

Finding = tuple[str, str]  # its kind, and what was seen


class _Unformatted(formatted.FormatCache):
    """black is most of a run and no part of what is tried here."""

    def formatted(self, sources: Sequence[str], format: Formatting, mode: str) -> list[str]:
        return list(sources)


def outcome(name: str, text: str) -> tuple[str, str]:
    """(`accepted`, ``), (`refused`, its first reason), or a finding."""
    try:
        render(plan_spec(read_text(text, f"specs/{name}.yaml")))
    except SpecError as error:
        return next(filter(None, map(_badly_worded, error.problems)), ("refused", _reason(error.problems[0])))
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__} {str(error)[:100]!r} at {Path(last.filename).name}:{last.name}"
    return "accepted", ""


def _reason(problem: Problem) -> str:
    return re.sub(r"'[^']*'|\d+", "_", f"{problem.message}")[:60]


def _badly_worded(problem: Problem) -> Finding | None:
    said = str(problem)
    if FORM.fullmatch(said) is None or not problem.cure or not problem.path:
        return "form", said[:300]
    return ("long", said[:300]) if len(said) > LONGEST else None


def watched(seeds: Iterator[int], judge: Callable[[int], tuple[str, str]]) -> Iterator[tuple[int, str, str]]:
    """(seed, kind, what) for each seed, judged in a child that is replaced when it dies or does not come to an end."""
    pending = list(seeds)
    while pending:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _serve(pending, judge, writing)
        os.close(writing)
        answered = yield from _answers(pending, reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        pending = pending[answered:]


def _mapped() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _serve(seeds: list[int], judge: Callable[[int], tuple[str, str]], writing: int) -> None:
    try:
        limit = _mapped() + BYTES  # beyond what the process had before, such as packages that other tests import
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.set_int_max_str_digits(0)  # as harsh as may be: printing a huge number takes its time
        with os.fdopen(writing, "w") as stream:
            for seed in seeds:
                print(json.dumps([seed, *judge(seed)]), file=stream, flush=True)
    finally:
        os._exit(0)


def _answers(seeds: list[int], reading: int) -> Any:
    rest, done = b"", 0
    while done < len(seeds):
        ready, _, _ = select.select([reading], [], [], SECONDS)
        data = os.read(reading, 1 << 16) if ready else b""
        if not data:
            yield seeds[done], "died" if ready else "hang", "no answer"
            return done + 1
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield tuple(json.loads(line))
            done += 1
    return done


def in_process(seed: int) -> tuple[str, str]:
    return outcome(*mutant(seed))


def through_the_command(project: Project, seed: int) -> tuple[str, str]:
    """The same by `codegen check --json` on a tree with this spec alone."""
    name, text = mutant(seed)
    for spec in (project.root / "specs").iterdir():
        spec.unlink()
    project.write(f"specs/{name}.yaml", text)
    command = [sys.executable, "-m", "codegen", "check", "--root", str(project.root)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3 * SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "hang", "no answer"
    if "Traceback" in done.stderr or done.returncode not in (0, 1, 2):
        return "traceback", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    said = [line for line in done.stderr.splitlines()[:-1] if not line.startswith("note:")]
    wrong = [line for line in said if FORM.fullmatch(line) is None or len(line) > LONGEST]
    if wrong or (done.returncode == 2 and not said):
        return "form", (wrong or ["exit code 2 without a word"])[0][:300]
    return ("accepted", "") if done.returncode < 2 else ("refused", "")


def main() -> int:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--count", type=int, default=0)
    options.add_argument("--cli", type=int, default=0, help="how many through the command")
    options.add_argument("--show", action="store_true", help="print the specs")
    chosen = options.parse_args()
    formatted._active[0] = _Unformatted(Store(None))
    started, found = time.monotonic(), Counter[tuple[str, str]]()
    first: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder) / "tree", stub=False)
        project.write(INDEX, (ROOT / INDEX).read_text(encoding="utf-8"))  # whose table has the real columns
        runs = ((chosen.count, in_process), (chosen.cli, lambda seed: through_the_command(project, seed)))
        for count, judge in runs:
            seeds = range(chosen.seed, chosen.seed + count)
            for seed, kind, what in (
                watched(iter(seeds), judge) if judge is in_process else ((seed, *judge(seed)) for seed in seeds)
            ):
                if chosen.show:
                    print(f"--- {seed}: {kind}: {what}\n{mutant(seed)[1]}")
                found[kind, what] += 1
                first.setdefault((kind, what), seed)
    good = ("accepted", "refused")
    for (kind, what), count in found.most_common():
        if kind not in good:
            print(f"{count:6} {kind}: {what} (seed {first[kind, what]})")
    totals = Counter[str]()
    for (kind, _), count in found.items():
        totals[kind] += count
    print(f"{sum(totals.values())} specs in {time.monotonic() - started:.0f} s: {dict(totals)}")
    return int(any(kind not in good for kind in totals))


if __name__ == "__main__":
    sys.exit(main())
