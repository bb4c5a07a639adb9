"""`from_pretrained` of a sharded checkpoint of about 1 GB, against transformers' own class.

Times: by turns in one process, with the file cache warm; `load` is from_pretrained alone, `read` also touches every
weight (mapped files are read when they are touched). The ratio ours / theirs should be 1.1 or less; it is given for the
medians and for the fastest rounds, which a busy machine disturbs least. Memory: in a process of its own for each, how
much resident memory rises at its peak while loading and reading, as a share of the weights (1.0: one copy; mapped pages
count too, so packing, which makes new matrices, is above 1).

    python benchmarks/load.py [--megabytes 1000] [--rounds 7] [--projections split packed] [--json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from nemo_automodel import NeMoAutoModelForCausalLM

HIDDEN, WIDTH, VOCABULARY = 1024, 2816, 32_000
LAYER_BYTES = 4 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN // 4 + 3 * HIDDEN * WIDTH)


def write_checkpoint(folder, megabytes):
    """A Llama of random weights in shards of a tenth of its size."""
    torch.manual_seed(0)
    embedding = 4 * HIDDEN * VOCABULARY
    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_attention_heads=16,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
        num_hidden_layers=max(1, round((megabytes * 1e6 - embedding) / LAYER_BYTES)),
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size=f"{max(1, megabytes // 10)}MB")


def load(kind, folder):
    if kind == "theirs":
        return LlamaForCausalLM.from_pretrained(folder, dtype="float32")
    return NeMoAutoModelForCausalLM.from_pretrained(folder, dtype="float32", backend={"projections": kind})


def read(model):
    return sum(parameter.sum().item() for parameter in model.parameters())


def timed(kind, folder):
    """Seconds of loading, and of loading and reading."""
    start = time.perf_counter()
    model = load(kind, folder)
    loaded = time.perf_counter()
    read(model)
    return {"load": loaded - start, "read": time.perf_counter() - start}


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak(kind, folder):
    """The rise of resident memory while loading and reading, over the size of the weights."""
    before, seen, done = resident(), [], threading.Event()

    def watch():
        while not done.wait(0.002):
            seen.append(resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    model = load(kind, folder)
    read(model)
    done.set()
    watcher.join()
    return (max(seen) - before) / sum(p.numel() * p.element_size() for p in model.parameters())


def peak_apart(kind, folder):
    command = [sys.executable, __file__, "--peak-of", kind, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"loading ({kind}) failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def measure(folder, kinds, rounds):
    """{kind: {load, read: {median, fastest, spread, ratio, ...}, peak}}; the first round does not count."""
    runs = {kind: [] for kind in kinds}
    for turn in range(rounds + 1):
        print(f"round {turn} of {rounds}", file=sys.stderr)
        for kind in kinds if turn % 2 else kinds[::-1]:
            runs[kind].append(timed(kind, folder))
    results = {}
    for kind in kinds:
        results[kind] = {what: summary([run[what] for run in runs[kind][1:]]) for what in ("load", "read")}
        for what, result in results[kind].items():
            result["ratio"] = result["median"] / results["theirs"][what]["median"]
            result["ratio_of_fastest"] = result["fastest"] / results["theirs"][what]["fastest"]
        results[kind]["peak"] = peak_apart(kind, folder)
    return results


def summary(times):
    median = statistics.median(times)
    return {"median": median, "fastest": min(times), "spread": (max(times) - min(times)) / median}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--projections", nargs="+", default=["split", "packed"], choices=["split", "packed"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak-of", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print(peak(*options.peak_of))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(folder, options.megabytes)
        size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
        results = measure(folder, ["theirs", *options.projections], options.rounds)
    if options.json:
        print(json.dumps({"bytes": size, **results}, indent=2))
        return
    print(f"{size / 1e6:.0f} MB")
    for kind, result in results.items():
        for what in ("load", "read"):
            r = result[what]
            print(
                f"{kind:7} {what}: {r['median']:.3f} s (spread {r['spread']:.0%}), ratio {r['ratio']:.3f}, "
                f"{r['ratio_of_fastest']:.3f} of the fastest"
            )
        print(f"{kind:7} peak: {result['peak']:.2f} x the weights")


if __name__ == "__main__":
    main()
