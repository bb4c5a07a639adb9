"""Training step of a model of about 100 million parameters, against transformers' own class with sdpa.

Mixtures of experts are compared with transformers' `grouped_mm` experts.

Both are built with the same weights and step by turns on the same batch, so that a slow minute hits both.
Prints the median step time of each, its spread, and the ratio theirs / ours (1.0 or more: ours is at least as fast).

    python benchmarks/train_step.py [--model llama|qwen3_moe] [--dtype float32 bfloat16] [--mode eager compiled]
        [--steps 15] [--threads N] [--cpu-time] [--json]
"""

import argparse
import json
import statistics
import sys
import time

import torch
from transformers import LlamaForCausalLM, Qwen3MoeForCausalLM

from nemo_automodel import NeMoAutoModelForCausalLM

COMMON = {
    "vocab_size": 32_000,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
MODELS = {  # class, shape, batch
    "llama": (
        LlamaForCausalLM,
        COMMON | {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12},
        (2, 256),
    ),
    "qwen3_moe": (  # the head has a sixth of the active weights; in Qwen3-30B-A3B it is a tenth
        Qwen3MoeForCausalLM,
        COMMON
        | {"hidden_size": 512, "moe_intermediate_size": 256, "num_hidden_layers": 8, "vocab_size": 8192}
        | {"num_experts": 32, "num_experts_per_tok": 4, "tie_word_embeddings": False},
        (8, 512),
    ),
}


def build(name, dtype):
    """(ours, theirs) with equal weights."""
    reference, shape, _ = MODELS[name]
    return build_pair(reference, shape, dtype, "sdpa")


def build_pair(reference, shape, dtype, attention, only=None):
    """[ours, theirs] with equal weights; `only` "ours" or "theirs": that one, with weights of its own."""
    torch.manual_seed(0)
    mixture, made = "num_experts" in shape, []
    choices = {"attn_implementation": attention, "dtype": dtype}
    if only != "ours":
        experts = {"experts_implementation": "grouped_mm"} if mixture else {}
        made = [reference._from_config(reference.config_class(**shape), **choices, **experts)]
    if mixture and made:  # tokens that differ, so that untrained routers spread them as balanced ones do
        torch.nn.init.normal_(made[0].get_input_embeddings().weight)
    if only != "theirs":
        ours = NeMoAutoModelForCausalLM.from_config(reference.config_class(**shape), **choices)
        assert type(ours) is not reference, f"the registry does not know {reference.__name__}: run codegen apply"
        if made:
            ours.load_state_dict(made[0].state_dict())
        made = [ours, *made]
    return [model.train() for model in made]


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


def timed(step, clock):
    start = clock()
    step()
    return clock() - start


def measure(dtype, compiled, options):
    """{ours, theirs: medians in seconds, spread of each, ratio}."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    _, shape, (batch, length) = MODELS[options.model]
    ids = torch.randint(shape["vocab_size"], (options.batch or batch, options.length or length))
    pair = [make_step(model, ids, compiled) for model in build(options.model, dtype)]
    for step in pair * 2:
        step()
    times = ([], [])
    for turn in range(options.steps):
        for which in (0, 1) if turn % 2 else (1, 0):
            times[which].append(timed(pair[which], clock))
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
    parser.add_argument("--model", default="llama", choices=list(MODELS))
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--mode", nargs="+", default=["eager", "compiled"], choices=["eager", "compiled"])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--batch", type=int, help="the model's own, if not given")
    parser.add_argument("--length", type=int, help="the same")
    parser.add_argument("--threads", type=int, help="torch's default, if not given")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of the process, on a machine that others use (1 thread)"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.threads or options.cpu_time:
        torch.set_num_threads(options.threads or 1)
    results = {}
    for dtype in options.dtype:
        for mode in options.mode:
            print(f"{dtype} {mode} ...", file=sys.stderr)
            result = measure(getattr(torch, dtype), mode == "compiled", options)
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
