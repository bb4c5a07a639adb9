"""Token mixers against transformers' PyTorch path: forward and backward, memory, and one decoding step.

    python benchmarks/mixers.py [mamba2 ...] [--lengths 512 2048 8192] [--rounds 5] [--share 0.5] [--dtype float32]
        [--threads N] [--cpu-time] [--markdown | --json]

Both run in one process, in turn, on one batch row, with the same weights; each figure is a median over rounds, with its
spread. `share` of the width and the heads of the model that `mixer_rows.py` names. `without` is the mixer without its
projections, which both compute alike; `bound` is how many times as fast as transformers' those alone are: more than
that nothing can reach. `growth` is the time of a token over that at the first of the lengths: 1 where cost is linear.
Memory is what a process of its own needs above what it held before.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from mixer_rows import ROWS, Pair
from torch import nn

LENGTHS = (512, 2048, 8192)
Clock = Callable[[], float]


def timed(call: Callable[[], object], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


def trained(mixer: Callable[..., torch.Tensor], inputs: Sequence[torch.Tensor]) -> None:
    mixer(*(one.detach().requires_grad_() for one in inputs)).sum().backward()


def in_turn(calls: Sequence[Callable[[], object]], rounds: int, clock: Clock) -> list[list[float]]:
    """Seconds of each call in each round, after one that does not count."""
    found = [[timed(call, clock) for call in calls] for _ in range(rounds + 1)][1:]
    return [list(times) for times in zip(*found, strict=True)]


def projections(pair: Pair, length: int) -> Callable[[], None]:
    """The products that both share, forward and backward."""
    named = dict(pair.modules[0].named_modules()) if pair.modules else {}
    linear = [one for name in pair.projections if isinstance(one := named[name], nn.Linear)]
    inputs = [torch.randn(1, length, one.in_features, dtype=one.weight.dtype) for one in linear]

    def run() -> None:
        for one, x in zip(linear, inputs, strict=True):
            trained(one, (x,))

    return run


def figures(name: str, length: int, given: argparse.Namespace) -> dict[str, Any]:
    """Medians and spreads, in milliseconds, and ratios."""
    pair, clock = build(name, given), time.process_time if given.cpu_time else time.perf_counter
    inputs = pair.inputs(length)
    calls = (lambda: trained(pair.ours, inputs), lambda: trained(pair.theirs, inputs), projections(pair, length))
    times = in_turn(calls, given.rounds, clock)
    ours, theirs, shared = (statistics.median(one) for one in times)
    held = [peak(name, side, length, given) for side in ("ours", "theirs")]
    return {
        **{"mixer": name, "length": length, "ours_ms": 1e3 * ours, "theirs_ms": 1e3 * theirs},
        "spread": [max(one) / min(one) for one in times[:2]],
        **{"projections_ms": 1e3 * shared, "faster": theirs / ours},
        "faster_without": (theirs - shared) / max(ours - shared, 1e-9),
        "bound": theirs / shared if pair.projections else None,
        **{"ours_mib": held[0], "theirs_mib": held[1], "memory": held[0] / held[1]},
        **({} if pair.cache is None else stepped(pair, length, given.rounds, clock)),
    }


@torch.no_grad()
def stepped(pair: Pair, length: int, rounds: int, clock: Clock) -> dict[str, float]:
    """One token after as many others, 512 at most."""
    (prefix,), (token,) = pair.inputs(min(length, 512)), pair.inputs(1)
    assert pair.cache is not None and pair.their_cache is not None
    caches = [pair.cache(), pair.their_cache()]
    for mixer, cache in zip((pair.ours, pair.theirs), caches, strict=True):
        mixer(prefix, cache)
    calls = (lambda: pair.ours(token, caches[0]), lambda: pair.theirs(token, caches[1]))
    ours, theirs = (statistics.median(one) for one in in_turn(calls, 20 * rounds, clock))
    return {"step_ours_ms": 1e3 * ours, "step_theirs_ms": 1e3 * theirs, "step": ours / theirs}


def build(name: str, given: argparse.Namespace) -> Pair:
    torch.manual_seed(0)
    return ROWS[name].pair(given.share, getattr(torch, given.dtype))


def peak(name: str, side: str, length: int, given: argparse.Namespace) -> float:
    """MiB that one forward and backward of a new process adds to the most it has held."""
    command = [sys.executable, __file__, name, "--peak", side, "--lengths", str(length), "--dtype", given.dtype]
    command += ["--share", str(given.share), "--threads", str(given.threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_peak(name: str, given: argparse.Namespace) -> None:
    pair = build(name, given)
    mixer = getattr(pair, given.peak)
    trained(mixer, pair.inputs(64))
    inputs, before = pair.inputs(given.lengths[0]), most_held()
    trained(mixer, inputs)
    print(most_held() - before)


def most_held() -> float:
    """MiB that this process has held at once, since it began: getrusage counts its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(one.split()[1]) / 1024 for one in lines if one.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mixers", nargs="*", metavar="mixer", help=", ".join(ROWS))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="time of the processor, for a machine that others load")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--peak", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.peak:
        measure_peak(given.mixers[0], given)
        return
    write = json.dumps if given.json else markdown if given.markdown else line
    if given.markdown:
        print(HEAD)
    for name in given.mixers or ROWS:
        first = None
        for length in given.lengths:
            row = figures(name, length, given)
            first = first or row
            row["growth"] = (row["ours_ms"] / length) / (first["ours_ms"] / first["length"])
            print(write(row), flush=True)


HEAD = """| mixer | tokens | ms | × faster | bound | without projections | × memory | step | growth |
|---|---|---|---|---|---|---|---|---|"""


def markdown(row: dict[str, Any]) -> str:
    cells = [
        row["mixer"],
        f"{row['length']:,}",
        f"{row['ours_ms']:.0f} of {row['theirs_ms']:.0f}",
        f"{row['faster']:.1f}",
    ]
    cells += [f"{row[name]:.1f}" if row["bound"] else "" for name in ("bound", "faster_without")]
    cells += [f"{row['memory']:.2f}"]
    cells += [f"{row['step']:.2f}" if "step" in row else "", f"{row['growth']:.2f}"]
    return f"| {' | '.join(cells)} |"


def line(row: dict[str, Any]) -> str:
    spread = ", ".join(f"{one:.2f}" for one in row["spread"])
    step = f"; step {row['step_ours_ms']:.2f} of {row['step_theirs_ms']:.2f} ms" if "step" in row else ""
    bound = f"of at most {row['bound']:.1f} x, " if row["bound"] else ""
    return (
        f"{row['mixer']} {row['length']}: {row['ours_ms']:.0f} ms, transformers {row['theirs_ms']:.0f} ms "
        f"({row['faster']:.1f} x; {bound}"
        f"without projections of {row['projections_ms']:.0f} ms {row['faster_without']:.1f} x; "
        f"spread {spread}; growth {row['growth']:.2f}); "
        f"memory {row['ours_mib']:.0f} of {row['theirs_mib']:.0f} MiB ({row['memory']:.2f}){step}"
    )


if __name__ == "__main__":
    main()
