"""`python -m tests.random_specs FIRST LAST`: the specs of these seeds on trial; prints each fault, then the sum.

Exit code 1 where one is faulty. Several of these may run side by side, on ranges of their own.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch

from tests.random_specs.drawing import draw
from tests.random_specs.trial import tried


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.random_specs", description=__doc__)
    arguments.add_argument("first", type=int)
    arguments.add_argument("last", type=int, help="the first seed that is left out")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    words: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    began = perf_counter()
    with TemporaryDirectory() as scratch:
        for seed in range(given.first, given.last):
            verdict = tried(draw(seed), Path(scratch))
            words[verdict.word] += 1
            if verdict.word == "faulty":
                print(f"seed {seed}: {verdict.notes[0]}", flush=True)
            for note in verdict.notes[:1] if verdict.word == "refused" else ():
                reasons[note] += 1
    spent = (perf_counter() - began) / max(1, given.last - given.first)
    print(f"{dict(words)}, {spent:.2f} s each")
    for reason, count in reasons.most_common(30):
        print(f"{count:5} {reason}")
    return 1 if words["faulty"] else 0


if __name__ == "__main__":
    sys.exit(main())
