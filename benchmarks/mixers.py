"""Token mixers against transformers' PyTorch path: forward and backward, memory, and one decoding step.

    python benchmarks/mixers.py [mamba2 ...] [--lengths 512 2048 8192] [--rounds 5] [--json]

Both run in one process, in turn, on one batch row in fp32; each figure is a median over rounds, with its spread. `sum`
is the mixer without its first and last projection, which both compute alike. Memory is what a process of its own needs
above what it held before. Another mixer is another row of MIXERS.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

LENGTHS = (512, 2048, 8192)


class Pair(NamedTuple):
    """Two mixers with the same weights, as functions of x [B, S, H] and a cache; projections are what both share."""

    width: int
    ours: Callable[..., torch.Tensor]
    theirs: Callable[..., torch.Tensor]
    modules: tuple[nn.Module, nn.Module]
    projections: tuple[str, ...]
    cache: Callable[[], Any]


def mamba2() -> Pair:
    """A layer of a model of 1.3 billion parameters, half as wide."""
    from transformers import DynamicCache, Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    from nemo_automodel.components.models.common.backend import BackendConfig
    from nemo_automodel.components.models.common.releases import CACHE
    from nemo_automodel.components.models.mamba2.model import Mamba2Mamba2

    config = Mamba2Config(
        **{"hidden_size": 1024, "num_heads": 32, "head_dim": 64, "n_groups": 1, "state_size": 128},
        **{"num_hidden_layers": 1, "residual_in_fp32": False},
    )
    theirs, ours = Mamba2Mixer(config, 0), Mamba2Mamba2(config, 0, BackendConfig().resolved())
    ours.load_state_dict(theirs.state_dict())
    name = CACHE if CACHE == "cache" else "cache_params"
    return Pair(
        config.hidden_size,
        lambda x, cache=None: ours(x, None, None, cache)[0],
        lambda x, cache=None: theirs(x, **{name: cache}),
        (ours, theirs),
        ("in_proj", "out_proj"),
        lambda: DynamicCache(config=config),
    )


MIXERS: dict[str, Callable[[], Pair]] = {"mamba2": mamba2}


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def trained(mixer: Callable[..., torch.Tensor], x: torch.Tensor) -> None:
    mixer(x).sum().backward()


def in_turn(calls: tuple[Callable[[], object], ...], rounds: int) -> list[list[float]]:
    """Seconds of each call in each round, after one that does not count."""
    found = [[timed(call) for call in calls] for _ in range(rounds + 1)][1:]
    return [list(times) for times in zip(*found, strict=True)]


def projections(pair: Pair, length: int) -> Callable[[], None]:
    """The products that both share, forward and backward."""
    named = dict(pair.modules[0].named_modules())
    linear = [named[name] for name in pair.projections]

    def run() -> None:
        for one in linear:
            assert isinstance(one, nn.Linear)
            one(torch.randn(1, length, one.in_features, requires_grad=True)).sum().backward()

    return run


def figures(name: str, length: int, rounds: int) -> dict[str, Any]:
    """Medians and spreads, in milliseconds, and ratios."""
    torch.manual_seed(0)
    pair = MIXERS[name]()
    x = torch.randn(1, length, pair.width, requires_grad=True)
    calls = (lambda: trained(pair.ours, x), lambda: trained(pair.theirs, x), projections(pair, length))
    times = in_turn(calls, rounds)
    ours, theirs, shared = (statistics.median(one) for one in times)
    return {
        **{"mixer": name, "length": length, "ours_ms": 1e3 * ours, "theirs_ms": 1e3 * theirs},
        "spread": [max(one) / min(one) for one in times[:2]],
        **{"projections_ms": 1e3 * shared, "faster": theirs / ours},
        "faster_sum": (theirs - shared) / max(ours - shared, 1e-9),
        **stepped(pair, length, rounds),
        **{f"{side}_mib": peak(name, side, length) for side in ("ours", "theirs")},
    }


@torch.no_grad()
def stepped(pair: Pair, length: int, rounds: int) -> dict[str, float]:
    """One token after as many others."""
    prefix, token = torch.randn(1, min(length, 512), pair.width), torch.randn(1, 1, pair.width)
    caches = [pair.cache(), pair.cache()]
    for mixer, cache in zip((pair.ours, pair.theirs), caches, strict=True):
        mixer(prefix, cache)
    calls = (lambda: pair.ours(token, caches[0]), lambda: pair.theirs(token, caches[1]))
    ours, theirs = (statistics.median(one) for one in in_turn(calls, 20 * rounds))
    return {"step_ours_ms": 1e3 * ours, "step_theirs_ms": 1e3 * theirs}


def peak(name: str, side: str, length: int) -> float:
    """MiB that one forward and backward of a new process adds to the most it has held."""
    command = [sys.executable, __file__, name, "--peak", side, "--lengths", str(length)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_peak(name: str, side: str, length: int) -> None:
    pair = MIXERS[name]()
    mixer = getattr(pair, side)
    trained(mixer, torch.randn(1, 64, pair.width, requires_grad=True))
    before = most_held()
    trained(mixer, torch.randn(1, length, pair.width, requires_grad=True))
    print(most_held() - before)


def most_held() -> float:
    """MiB that this process has held at once, since it began: getrusage counts its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(one.split()[1]) / 1024 for one in lines if one.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mixers", nargs="*", help=", ".join(MIXERS))
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        measure_peak(given.mixers[0], given.peak, given.lengths[0])
        return
    found = [figures(name, length, given.rounds) for name in given.mixers or MIXERS for length in given.lengths]
    for row in found:
        print(json.dumps(row) if given.json else line(row))


def line(row: dict[str, Any]) -> str:
    spread = ", ".join(f"{one:.2f}" for one in row["spread"])
    return (
        f"{row['mixer']} {row['length']}: {row['ours_ms']:.0f} ms, transformers {row['theirs_ms']:.0f} ms "
        f"({row['faster']:.1f} x; without projections {row['faster_sum']:.1f} x; spread {spread}); "
        f"memory {row['ours_mib']:.0f} of {row['theirs_mib']:.0f} MiB; "
        f"step {row['step_ours_ms']:.2f} of {row['step_theirs_ms']:.2f} ms"
    )


if __name__ == "__main__":
    main()
