"""Bytes that a training step needs besides its parameters, against transformers' own class.

`kept` counts what autograd holds between a forward and its backward pass, through saved-tensor hooks: each storage
once, parameters left out, beside a loss of which nothing else is held; a token and layer. `of a layer` is what one more
layer adds: no embedding, head or loss. The models are those of `train_step.py`, Llama's with 2,048 tokens too, and
Gemma-2's shape (eager attention: no other caps scores). They are the same on every run of one number of threads, and on
a CPU as on a GPU but where a primitive asks how large its input is.

`--peak` measures the largest resident size of a process that makes two steps at a vocabulary of 128,256, each side in
processes of its own, by turns.

    python benchmarks/memory.py [--model llama llama_long gemma2 qwen3_moe] [--dtype float32 bfloat16] [--threads N]
    python benchmarks/memory.py --peak [--runs 3] [--untied]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import weakref

import torch
from torch.autograd.graph import saved_tensors_hooks
from train_step import COMMON, MODELS, build_pair, make_step
from transformers import Gemma2ForCausalLM

SHAPES = MODELS | {
    "llama_long": (*MODELS["llama"][:2], (4, 512)),
    "gemma2": (
        Gemma2ForCausalLM,
        COMMON | {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "sliding_window": 128},
        (2, 256),
    ),
}
PEAK_SHAPE = {"vocab_size": 128_256, "num_hidden_layers": 4}
PEAK_BATCH = 4, 512


class Held:
    """A saved tensor, as long as the graph holds it."""

    def __init__(self, tensor):
        self.tensor = tensor


def kept(model, given):
    """Bytes between a forward with these keywords and its backward pass."""
    held, own = weakref.WeakSet(), {one.untyped_storage().data_ptr() for one in model.parameters()}

    def keep(saved):
        kept = Held(saved.detach())  # a tensor with its history would hold the graph that holds it
        held.add(kept)
        return kept

    with saved_tensors_hooks(keep, lambda kept: kept.tensor):
        loss = model(**given, use_cache=False).loss
    storages = {one.tensor.untyped_storage().data_ptr(): one.tensor.untyped_storage() for one in held}
    found = sum(storage.nbytes() for address, storage in storages.items() if address not in own)
    del loss
    return found


def attention(name):
    return "eager" if name == "gemma2" else "sdpa"


def both(name, dtype, layers=None):
    """Bytes kept (of ours, of theirs) a token, with this number of layers."""
    reference, shape, batch = SHAPES[name]
    shape = shape | {"num_hidden_layers": layers or shape["num_hidden_layers"]}
    ids = torch.randint(shape["vocab_size"], batch)
    pair = build_pair(reference, shape, dtype, attention(name))
    return [kept(model, {"input_ids": ids, "labels": ids}) / ids.numel() for model in pair]


def print_kept(options):
    columns = f"{'ours':>9} {'theirs':>9}  ratio"
    print(f"{'bytes a token and layer':23}{columns}   of a layer: {columns}")
    for name in options.model:
        for dtype in options.dtype:
            layers = SHAPES[name][1]["num_hidden_layers"]
            ours, theirs = both(name, getattr(torch, dtype))
            less = both(name, getattr(torch, dtype), layers - 2)  # two: layers of Gemma 2 alternate
            a, b = (ours - less[0]) / 2, (theirs - less[1]) / 2
            ours, theirs = ours / layers, theirs / layers
            whole = f"{name:11} {dtype:10}  {ours:9.0f} {theirs:9.0f}  {ours / theirs:.3f}"
            print(f"{whole}   of a layer: {a:9.0f} {b:9.0f}  {a / b:.3f}", flush=True)


def peak(side, dtype, tied):
    """MiB: the largest size of this process, after two steps of one side."""
    reference, shape, _ = MODELS["llama"]
    shape = shape | PEAK_SHAPE | {"tie_word_embeddings": tied}
    model = build_pair(reference, shape, getattr(torch, dtype), "sdpa", only=side)[0]
    step = make_step(model, torch.randint(shape["vocab_size"], PEAK_BATCH), compiled=False)
    for _ in range(2):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_peaks(options):
    for dtype in options.dtype:
        found = {"ours": [], "theirs": []}
        for turn in range(options.runs):
            for side in sorted(found, reverse=bool(turn % 2)):
                asked = json.dumps({"side": side, "dtype": dtype, "tied": not options.untied})
                run = [sys.executable, __file__, "--threads", str(options.threads), "--one", asked]
                found[side].append(
                    float(subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()[-1])
                )
        ours, theirs = (statistics.median(sizes) for sizes in found.values())
        ranges = ", ".join(f"{side} {min(sizes):.0f} to {max(sizes):.0f}" for side, sizes in found.items())
        print(f"peak {dtype:9} ours {ours:.0f} MiB, theirs {theirs:.0f} MiB, ratio {ours / theirs:.3f} ({ranges})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--dtype", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--untied", action="store_true", help="the head has a weight of its own")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(peak(**json.loads(options.one)))
    elif options.peak:
        print_peaks(options)
    else:
        print_kept(options)


if __name__ == "__main__":
    main()
