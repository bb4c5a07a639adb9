"""For each committed spec: hidden, searched for as by `codegen new`, and held to its contract.

A scratch tree holds every other spec. The checkpoint is written by transformers' class, on the strong tiny config of
the hidden spec. What is found is then asked all that `codegen parity --sensitivity` asks, on the hidden spec's own
configs: `contract` says what differs there, which a search that says "proven" must never fail. A spec with a reference
of its own is another model than transformers' class, which the search judges by: `own reference` says so. lines: of the
spec that was found, and of the hidden one. `same code`: whether both generate the same files, docstrings apart.

    python benchmarks/infer.py [NAME ... | --images] [--seconds 120] [--json]
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from codegen.language.check import specs_of_images, specs_of_text
from nemo_automodel.parity.__main__ import quiet
from nemo_automodel.parity.infer.report import written
from nemo_automodel.parity.infer.search import search
from nemo_automodel.parity.infer.start import start
from nemo_automodel.parity.project import open_project
from nemo_automodel.parity.sensitivity import Bench, generated

ROOT = Path(__file__).resolve().parents[1]
FRAME = ("name:", "summary:", "docs:", "tests:", "#")


def row(name, seconds):
    project = open_project(name, ROOT)
    bench = Bench(project)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        shutil.copytree(ROOT / "specs", tree / "specs", ignore=lambda _, names: {f"{name}.yaml"} & set(names))
        (tree / "checkpoint").mkdir()
        bench.variants["base"].reference.save(tree / "checkpoint")
        began = time.process_time()
        begun = start(tree / "checkpoint", tree, name)
        found = search(begun, tree, seconds, lambda _: None, time.process_time)
    text = written(found.candidate)
    return {
        "name": name,
        "own reference": project.subject().reference_class.__module__.startswith("tests."),
        "proven": found.stop is None,
        "holds": found.stop is None and (bench.notices(generated(text, project)) or "yes"),
        "stops": found.stop and f"{found.stop.what}, {found.stop.case}: {[one.where for one in found.stop.inmost[:3]]}",
        "seconds": round(time.process_time() - began, 1),
        "tried": found.tried,
        "lines": [lines(text), lines((ROOT / f"specs/{name}.yaml").read_text())],
        "same code": found.stop is None and generated(text, project) == bench.files,
        "text": text,
    }


def lines(text):
    """Of what a spec says of the model."""
    return len([line for line in text.splitlines() if line and not line.startswith(FRAME)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=120, help="of processor time, for each")
    parser.add_argument("--images", action="store_true", help="all that take images, in place of all that do not")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    quiet()
    rows = []
    all_there = (specs_of_images if options.images else specs_of_text)(ROOT / "specs")
    for name in options.names or [path.stem for path in all_there]:
        try:
            rows.append(row(name, options.seconds))
        except Exception as error:  # one family's failure is a row of the table
            rows.append({"name": name, "proven": False, "stops": f"{type(error).__name__}: {error}".split("\n")[0]})
        show(rows[-1], options.json)
    proven = [one for one in rows if one["proven"]]
    times = [one["seconds"] for one in rows if "seconds" in one]
    if not options.json and times:
        wrong = [one["name"] for one in proven if one["holds"] != "yes" and not one["own reference"]]
        same = sum(one["same code"] for one in proven)
        print(f"{len(proven)} of {len(rows)} proven, {len(wrong)} of them wrongly: {wrong}; {same} of the same code")
        print(f"processor seconds: median {median(times)}, most {max(times)}")


def show(one, as_json):
    if as_json:
        print(json.dumps(one), flush=True)
        return
    what = f"proven; contract: {one['holds']}" if one["proven"] else f"open: {one['stops']}"
    figures = f"{one.get('seconds', '-')} s, {one.get('tried', '-')} tried, lines {one.get('lines', '-')}"
    print(f"{one['name']:24} {figures}, same code: {one.get('same code', False)}; {what}"[:220], flush=True)


if __name__ == "__main__":
    sys.exit(main())
