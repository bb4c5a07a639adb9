"""`from_pretrained` of a sharded checkpoint of about 1 GB, against transformers' own class.

Each runs in a process of its own, by turns, with the file cache warm, and loads twice: the first time for the peak of
memory, the second time, with all modules imported, for the seconds. Every load touches all weights. Prints the median
seconds of each, the ratio ours / theirs (1.1 or less is wanted; of the fastest loads too, which a busy machine disturbs
less), and by how much resident memory rose at its peak, as a share of the weights (1.0: one copy; mapped pages of the
files count, so packing, which copies, is above 1).

    python benchmarks/load.py [--megabytes 1000] [--rounds 5] [--projections split packed] [--json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HIDDEN, WIDTH, VOCABULARY = 1024, 2816, 32_000
LAYER_BYTES = 4 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN // 4 + 3 * HIDDEN * WIDTH)

LOADER = """
import json, sys, threading, time
import torch
from transformers import LlamaForCausalLM
from nemo_automodel import NeMoAutoModelForCausalLM
which, folder = sys.argv[1:]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def watch():
    while running:
        peak.append(resident())
        time.sleep(0.002)

def load():
    start = time.perf_counter()
    if which == "theirs":
        model = LlamaForCausalLM.from_pretrained(folder, dtype="float32")
    else:
        model = NeMoAutoModelForCausalLM.from_pretrained(folder, dtype="float32", backend={"projections": which})
    checksum = sum(p.sum().item() for p in model.parameters())
    return model, checksum, time.perf_counter() - start

before, peak, running = resident(), [], True
watcher = threading.Thread(target=watch)
watcher.start()
model = load()[0]
running = False
watcher.join()
del model
model, checksum, seconds = load()
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(json.dumps({"seconds": seconds, "peak": (max(peak) - before) / weights, "checksum": checksum}))
"""


def write_checkpoint(folder, megabytes):
    """A Llama of random weights in shards of a tenth of its size."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

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


def load(which, folder):
    command = [sys.executable, "-c", LOADER, which, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"loading ({which}) failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder, kinds, rounds):
    """{kind: {seconds, spread, peak}}; the first round warms the file cache and does not count."""
    runs = {kind: [] for kind in kinds}
    for turn in range(rounds + 1):
        for kind in kinds if turn % 2 else kinds[::-1]:
            print(f"round {turn}: {kind}", file=sys.stderr)
            runs[kind].append(load(kind, folder))
    results = {}
    for kind, all_runs in runs.items():
        times = [run["seconds"] for run in all_runs[1:]]
        median = statistics.median(times)
        spread = (max(times) - min(times)) / median
        peak = statistics.median(run["peak"] for run in all_runs[1:])
        results[kind] = {"seconds": median, "fastest": min(times), "spread": spread, "peak": peak}
    for kind in kinds:
        for key, name in (("seconds", "ratio"), ("fastest", "ratio_of_fastest")):
            results[kind][name] = results[kind][key] / results["theirs"][key]
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--projections", nargs="+", default=["split", "packed"], choices=["split", "packed"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(folder, options.megabytes)
        size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
        results = measure(folder, ["theirs", *options.projections], options.rounds)
    if options.json:
        print(json.dumps({"bytes": size, **results}, indent=2))
        return
    print(f"{size / 1e6:.0f} MB")
    for kind, r in results.items():
        print(
            f"{kind:7} {r['seconds']:.3f} s (spread {r['spread']:.0%}), ratio {r['ratio']:.3f} "
            f"({r['ratio_of_fastest']:.3f} of the fastest), peak {r['peak']:.2f} x the weights"
        )


if __name__ == "__main__":
    main()
