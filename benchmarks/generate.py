"""Cached generation of a model of about 100 million parameters, against transformers' own class with sdpa.

Both are built with the same weights and generate by turns from the same prompts, greedily, so that a slow minute hits
both. Prints the median time a token of each, its spread, the ratio theirs / ours (1.0 or more: ours is at least as
fast), and how many of the tokens are the same: two models that round otherwise may part where two tokens are as likely.

    python benchmarks/generate.py [--model llama qwen3_moe] [--dtype float32 bfloat16] [--batch 1 8] [--cache dynamic]
        [--prompt 128] [--tokens 64] [--runs 7] [--threads N] [--cpu-time] [--json]
"""

import argparse
import json
import statistics
import sys
import time

import torch
from train_step import MODELS, build

CACHES = ("dynamic", "static")


def make_run(model, ids, options):
    """One call of `generate`: ids [B, S] -> new tokens [B, T], none of which ends a text."""
    cache = {} if options.cache == "dynamic" else {"cache_implementation": "static"}

    def run():
        with torch.no_grad():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=options.tokens,
                max_new_tokens=options.tokens,
                pad_token_id=0,
                **cache,
            )
        return made[:, ids.shape[1] :]

    return run


def timed(run, clock):
    start = clock()
    run()
    return clock() - start


def measure(name, dtype, batch, options):
    """{ours, theirs: medians in seconds a step, spread of each, ratio, share of equal tokens}."""
    torch.manual_seed(1)
    ids = torch.randint(1, MODELS[name][1]["vocab_size"], (batch, options.prompt))
    clock = time.process_time if options.cpu_time else time.perf_counter
    pair = [make_run(model.eval(), ids, options) for model in build(name, dtype)]
    ours, theirs = [run() for run in pair]  # the first also warms up
    times = ([], [])
    for turn in range(options.runs):
        for which in (0, 1) if turn % 2 else (1, 0):
            times[which].append(timed(pair[which], clock) / options.tokens)
    medians = [statistics.median(t) for t in times]
    return {
        "ours_s": medians[0],
        "theirs_s": medians[1],
        "ours_spread": (max(times[0]) - min(times[0])) / medians[0],
        "theirs_spread": (max(times[1]) - min(times[1])) / medians[1],
        "ratio": statistics.median(b / a for a, b in zip(*times, strict=True)),
        "equal": (ours == theirs).float().mean().item(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtype", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--cache", choices=CACHES, default="dynamic")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--cpu-time", action="store_true", help="of the process, on a machine that others use (1 thread)"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1 if options.cpu_time else options.threads)
    results = {}
    for name in options.model:
        for dtype in options.dtype:
            for batch in options.batch:
                key = f"{name} {dtype} batch {batch}"
                print(f"{key} ...", file=sys.stderr)
                found = results[key] = measure(name, getattr(torch, dtype), batch, options)
                if not options.json:
                    print(
                        f"{key:28} ours {1e3 * found['ours_s']:7.2f} ms a step (spread {found['ours_spread']:.0%}), "
                        f"theirs {1e3 * found['theirs_s']:7.2f} ms (spread {found['theirs_spread']:.0%}), "
                        f"ratio {found['ratio']:.3f}, {found['equal']:.0%} of tokens equal",
                        flush=True,
                    )
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
