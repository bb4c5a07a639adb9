"""How long the generator takes: whole commands, from the start of the interpreter to its end.

    python benchmarks/codegen_speed.py [--specs 150] [--json]

A scratch tree gets copies of this repository's specs under other names, with other numbers and structure, so that the
memory of formatted statements helps them no more than it helps real models. Exit code 1 if a figure misses its bound.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from codegen.configs import table  # noqa: E402
from codegen.language.check import read_spec, specs_of_text  # noqa: E402
from codegen.plan.mixers.kinds import KEEPS_KEYS, kind  # noqa: E402

COMMAND = [sys.executable, "-c", "import sys; from codegen.cli import main; sys.exit(main())"]
OUTPUTS = ("nemo_automodel", "tests", "examples", "docs")
Times = list[tuple[float, float]]  # wall, processor
REGISTRY = """\
from collections import OrderedDict

MODEL_ARCH_MAPPING = OrderedDict([])
_CUSTOM_CONFIG_REGISTRATIONS: dict[str, tuple[str, str]] = {}
"""
INDEX = """\
<!-- codegen: rows begin -->
| Model | Architecture | Features | Example |
|---|---|---|---|
<!-- codegen: rows end -->
"""


def merged(spec: Any, more: dict[str, Any]) -> dict[str, Any]:
    """`more` over a section of a spec, which may be a bare kind."""
    section: dict[str, Any] = {"kind": spec} if isinstance(spec, str) else dict(spec or {})
    return section | more


def variant(path: Path, number: int) -> tuple[str, str]:
    """Name and text of a copy of a spec: other class names, other numbers, and every third one other parts."""
    spec: dict[str, Any] = yaml.safe_load(path.read_text())
    loaded = read_spec(path, REPOSITORY)
    stem = loaded.architectures[0].removesuffix("ForCausalLM")
    spec["name"] = f"{path.stem}_v{number}"
    spec["architecture"] = f"{stem}V{number}ForCausalLM"
    spec["summary"] = f"Variant {number} of {path.stem}."
    if isinstance(spec.get("config"), dict):
        spec["config"] |= {"model_type": f"{path.stem}_v{number}", "class": f"{stem}V{number}Config"}
    else:
        spec["config"] = f"transformers:{loaded.config.class_name}"
    spec["norm"] = merged(spec.get("norm"), {"eps": round(1e-6 * (number + 1), 9)})
    if number % 3 == 1 and all(kind(flat, "attention") in KEEPS_KEYS for flat in loaded.flat.values()):
        spec["attention"] = merged(spec.get("attention"), {"scale": round(0.01 * (number + 1), 4)})
    if number % 3 == 2:
        spec["dropout"] = merged(spec.get("dropout"), {"residual": round(0.001 * (number + 1), 4)})
    return spec["name"], yaml.safe_dump(spec, sort_keys=False, width=1000)


def may_be_copied(path: Path) -> bool:
    """Whether several models may have the config: not those whose model type means one model."""
    declared = read_spec(path, REPOSITORY).config
    known = table().get(declared.class_name)
    return declared.fields is not None or (known is not None and bool(known.architectures))


def make_tree(root: Path, count: int) -> None:
    """A tree with `count` specs and nothing generated."""
    sources = [path for path in specs_of_text(REPOSITORY / "specs") if may_be_copied(path)]
    (root / "specs").mkdir(parents=True)
    for number in range(count):
        name, text = variant(sources[number % len(sources)], number)
        (root / f"specs/{name}.yaml").write_text(text)
    (root / "pyproject.toml").touch()
    put_owned_files(root)


def copy_tree(root: Path) -> int:
    """A tree with this repository's own specs and nothing generated; returns how many there are."""
    (root / "specs").mkdir(parents=True)
    paths = list((REPOSITORY / "specs").glob("*.yaml"))
    for path in paths:
        shutil.copy(path, root / "specs")
    (root / "pyproject.toml").touch()
    put_owned_files(root)
    return len(paths)


def put_owned_files(root: Path) -> None:
    """The files that people own, without entries."""
    for path, text in (
        ("nemo_automodel/_transformers/registry.py", REGISTRY),
        ("docs/model-coverage/llm/index.md", INDEX),
        ("docs/model-coverage/vlm/index.md", INDEX),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def drop_outputs(root: Path, *state: str) -> None:
    """Move away everything generated, and the named parts of the state.

    Not deleted: ext4 passes over the inodes of files that were just deleted, one by one, for each new file.
    """
    away = Path(tempfile.mkdtemp(dir=root.parent))
    for number, folder in enumerate((*OUTPUTS, *state)):
        if (root / folder).exists():
            (root / folder).rename(away / str(number))
    put_owned_files(root)


def run(root: Path, *arguments: str) -> float:
    """Seconds that one command takes; it must succeed. It may remember, and keep its bytecode, as for a user."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTHONDONTWRITEBYTECODE")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    start = time.perf_counter()
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        raise RuntimeError(f"codegen {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds


def change_one(root: Path, number: int) -> None:
    """Give one spec a number that no formatted statement has seen."""
    path = sorted((root / "specs").glob("*.yaml"))[number % 7]
    path.write_text(re.sub(r"eps: [^\s}]+", f"eps: {3e-6 + number * 1e-9:.4g}", path.read_text()))


def processor_time() -> float:
    """Seconds that finished children have computed: beside the wall time, it tells slow code from a busy machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(repeats: int, before: Callable[[int], None], root: Path, *arguments: str) -> Times:
    """Times of a command, each after `before`."""
    times: Times = []
    for number in range(repeats):
        before(number)
        computed = processor_time()
        seconds = run(root, *arguments)
        times.append((seconds, processor_time() - computed))
    return times


def figures(scratch: Path, many: int) -> list[tuple[str, float, Times]]:
    """Name, bound and times of every figure."""
    fifty, full, own = scratch / "fifty", scratch / "full", scratch / "own"
    make_tree(fifty, 50)
    count = copy_tree(own)
    make_tree(full, many)
    run(full, "apply")
    run(full, "check")
    rows = [
        (f"check, nothing changed, {many} specs", 0.025, measured(21, lambda number: None, full, "check")),
        (f"apply, one of {many} specs changed", 0.360, measured(7, lambda n: change_one(full, n), full, "apply")),
        ("apply, 50 specs, cold", 5.5, measured(3, lambda n: drop_outputs(fifty, ".codegen"), fifty, "apply")),
    ]
    warm = measured(7, lambda n: drop_outputs(fifty, ".codegen/state"), fifty, "apply")
    rows.append(("apply, 50 specs, warm cache, all files missing", 0.75, warm))
    stateless = measured(7, lambda n: (fifty / ".codegen/state").unlink(missing_ok=True), fifty, "apply")
    rows.append(("apply, 50 specs, warm cache, all files there", 0.75, stateless))
    cold = measured(3, lambda n: drop_outputs(own, ".codegen"), own, "apply")
    rows.append((f"apply, the {count} specs of this repository, cold", 6.0, cold))
    warm = measured(7, lambda n: drop_outputs(own, ".codegen/state"), own, "apply")
    rows.append((f"apply, the {count} specs of this repository, warm cache", 0.8, warm))
    rows.append((f"check --no-cache, {many} specs", 20.0, measured(3, lambda n: None, full, "check", "--no-cache")))
    return rows


def main() -> int:
    """Measure, print one line a figure, and say by the exit code whether all bounds hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specs", type=int, default=150)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = figures(Path(folder), options.specs)
    missed = [name for name, bound, times in rows if statistics.median(wall for wall, _ in times) > bound]
    if options.json:
        print(json.dumps([{"figure": name, "bound": bound, "seconds": times} for name, bound, times in rows]))
    for name, bound, times in () if options.json else rows:
        walls = [1000 * wall for wall, _ in times]
        low, median, high = min(walls), statistics.median(walls), max(walls)
        computed = 1000 * statistics.median(processor for _, processor in times)
        verdict = "FAIL" if name in missed else "PASS"
        spread = f"({low:.1f} to {high:.1f}; computing {computed:.1f})"
        print(f"{verdict}  {name:50}  {median:8.1f} ms  {spread}  bound {1000 * bound:.0f} ms")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
