"""Training step of a llama-shaped model of about 100 million parameters, against transformers' own class with sdpa.

Both are built with the same weights and step by turns on the same batch, so that a slow minute hits both.
Prints the median step time of each, its spread, and the ratio theirs / ours (1.0 or more: ours is at least as fast).

    python benchmarks/train_step.py [--dtype float32 bfloat16] [--mode eager compiled] [--steps 9] [--json]
"""

import argparse
import json
import statistics
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nemo_automodel import NeMoAutoModelForCausalLM

SHAPE = {
    "vocab_size": 32_000,
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}


def build(dtype):
    """(ours, theirs) with equal weights."""
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPE)
    theirs = LlamaForCausalLM._from_config(config, attn_implementation="sdpa", dtype=dtype)
    ours = NeMoAutoModelForCausalLM.from_config(LlamaConfig(**SHAPE), attn_implementation="sdpa", dtype=dtype)
    assert type(ours) is not LlamaForCausalLM, "the registry does not know LlamaForCausalLM: run codegen apply"
    ours.load_state_dict(theirs.state_dict())
    return ours.train(), theirs.train()


def make_step(model, ids, compiled):
    """One forward, backward and SGD update of a freshly drawn batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    forward = torch.compile(model) if compiled else model

    def step():
        loss = forward(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


def timed(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(dtype, compiled, steps, batch, length):
    """{ours, theirs: medians in seconds, spread of each, ratio}."""
    ours, theirs = build(dtype)
    ids = torch.randint(SHAPE["vocab_size"], (batch, length))
    pair = [make_step(model, ids, compiled) for model in (ours, theirs)]
    for step in pair * 2:
        step()
    times = ([], [])
    for turn in range(steps):
        for which in (0, 1) if turn % 2 else (1, 0):
            times[which].append(timed(pair[which]))
    medians = [statistics.median(t) for t in times]
    spread = [(max(t) - min(t)) / m for t, m in zip(times, medians, strict=True)]
    pairs = [b / a for a, b in zip(*times, strict=True)]
    return {
        "ours_s": medians[0],
        "theirs_s": medians[1],
        "ours_spread": spread[0],
        "theirs_spread": spread[1],
        "ratio": medians[1] / medians[0],
        "median_pair_ratio": statistics.median(pairs),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--mode", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for dtype in options.dtype:
        for mode in options.mode:
            print(f"{dtype} {mode} ...", file=sys.stderr)
            result = measure(getattr(torch, dtype), mode == "compiled", options.steps, options.batch, options.length)
            results[f"{dtype} {mode}"] = result
            if not options.json:
                print(
                    f"{dtype:9} {mode:9} ours {result['ours_s']:.3f} s (spread {result['ours_spread']:.0%}), theirs "
                    f"{result['theirs_s']:.3f} s (spread {result['theirs_spread']:.0%}), ratio {result['ratio']:.3f}, "
                    f"median of pairs {result['median_pair_ratio']:.3f}"
                )
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
