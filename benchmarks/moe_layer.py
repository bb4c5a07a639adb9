"""Forward and backward of routed experts, against transformers' `grouped_mm` experts with the same weights.

Both take turns on the same tokens. Routing is drawn anew for each turn, as in training; `--fixed` repeats one routing.
Prints medians, spreads and the ratio theirs / ours, the errors of bfloat16 against float32, and how the cost grows.

    python benchmarks/moe_layer.py [--tokens 512 4096] [--dtype float32 bfloat16] [--width 256] [--steps 11]
        [--threads N] [--cpu-time] [--fixed] [--growth] [--json]
"""

import argparse
import json
import statistics
import time

import torch
from transformers import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

from nemo_automodel.components.moe.config import MoEConfig
from nemo_automodel.components.moe.experts import GroupedExperts

HIDDEN, TOP_K = 512, 4


def build(experts, width, dtype):
    """(ours, theirs) on the same parameters."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        hidden_size=HIDDEN, num_experts=experts, num_experts_per_tok=TOP_K, moe_intermediate_size=width
    )
    config._experts_implementation = "grouped_mm"
    theirs = Qwen3MoeExperts(config)
    ours = GroupedExperts(
        MoEConfig(dim=HIDDEN, moe_inter_dim=width, n_routed_experts=experts, n_activated_experts=TOP_K)
    )
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=HIDDEN**-0.5)
    ours.load_state_dict(theirs.state_dict())
    return ours.to(dtype), theirs.to(dtype)


def route(tokens, experts, dtype):
    weights, chosen = torch.randn(tokens, experts).softmax(-1).topk(TOP_K, dim=-1)
    return chosen, (weights / weights.sum(-1, keepdim=True)).to(dtype)


def step(module, x, chosen, weights, grad):
    """[output, gradients of x, weights and parameters]."""
    x, weights = x.detach().requires_grad_(), weights.detach().requires_grad_()
    for parameter in module.parameters():
        parameter.grad = None
    y = module(x, chosen, weights)
    y.backward(grad)
    return [y.detach(), x.grad, weights.grad, *(p.grad for p in module.parameters())]


def measure(tokens, experts, width, dtype, options):
    """{ours_ms, theirs_ms, spreads, ratio of medians, median of ratios}."""
    pair = build(experts, width, dtype)
    clock = time.process_time if options.cpu_time else time.perf_counter
    x, grad = torch.randn(tokens, HIDDEN, dtype=dtype), torch.randn(tokens, HIDDEN, dtype=dtype)
    times, routing = ([], []), route(tokens, experts, dtype)
    for turn in range(-2, options.steps):
        routing = routing if options.fixed else route(tokens, experts, dtype)
        for which in (0, 1) if turn % 2 else (1, 0):
            start = clock()
            step(pair[which], x, *routing, grad)
            if turn >= 0:
                times[which].append((clock() - start) * 1e3)
    ours, theirs = (statistics.median(each) for each in times)
    spreads = [(max(each) - min(each)) / statistics.median(each) for each in times]
    pairs = statistics.median(b / a for a, b in zip(*times, strict=True))
    return {
        "ours_ms": ours,
        "theirs_ms": theirs,
        "ours_spread": spreads[0],
        "theirs_spread": spreads[1],
        "ratio": theirs / ours,
        "median_pair_ratio": pairs,
    }


def errors(tokens, experts, width):
    """{ours, theirs: relative error of bfloat16 against float32 on the same values, over output and gradients}."""
    pair, truth = build(experts, width, torch.bfloat16), build(experts, width, torch.bfloat16)[1].float()
    x, grad = torch.randn(tokens, HIDDEN).bfloat16(), torch.randn(tokens, HIDDEN).bfloat16()
    chosen, weights = route(tokens, experts, torch.bfloat16)
    exact = step(truth, x.float(), chosen, weights.float(), grad.float())

    def error(module):
        found = step(module, x, chosen, weights, grad)
        each = [((a.float() - b).norm() / b.norm()).item() for a, b in zip(found, exact, strict=True)]
        return statistics.mean(value**2 for value in each) ** 0.5

    return {"ours": error(pair[0]), "theirs": error(pair[1])}


def growth(width, dtype, options):
    """{what: ms of ours}: by experts at a fixed number of rows for each, and by tokens."""
    found = {f"{e} experts, {16 * e} tokens": measure(16 * e, e, width, dtype, options) for e in (8, 32, 128)}
    found |= {f"32 experts, {t} tokens": measure(t, 32, width, dtype, options) for t in (512, 1024, 2048, 4096)}
    return {name: result["ours_ms"] for name, result in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", nargs="+", type=int, default=[512, 4096])
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--experts", type=int, default=32)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=11)
    parser.add_argument("--threads", type=int, help="torch's default, if not given")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of the process, on a machine that others use (1 thread)"
    )
    parser.add_argument("--fixed", action="store_true", help="one routing for all turns")
    parser.add_argument("--growth", action="store_true", help="also measure how the cost grows")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.threads or options.cpu_time:
        torch.set_num_threads(options.threads or 1)
    results = {"bfloat16 error": errors(512, options.experts, options.width)}
    for dtype in options.dtype:
        for tokens in options.tokens:
            found = measure(tokens, options.experts, options.width, getattr(torch, dtype), options)
            results[f"{dtype} {tokens} tokens"] = found
        if options.growth:
            results[f"{dtype} growth, ms"] = growth(options.width, getattr(torch, dtype), options)
    print(json.dumps(results, indent=2) if options.json else text(results))


def text(results):
    lines = []
    for name, found in results.items():
        values = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
        lines.append(f"{name}: {values}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
