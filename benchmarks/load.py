"""`from_pretrained` of a sharded checkpoint of about 1 GB, against transformers' own class.

`load` is from_pretrained alone, `read` also touches every weight (mapped files are read when they are touched). Ratios
ours / theirs are given for the medians and for the fastest rounds, which a busy machine disturbs least. `peak`: how
much resident memory rises while loading and reading, in a process of its own, as a share of the weights (1.0: one copy;
mapped pages count too, so packing, which makes new matrices, is above 1). Files are read once before each round, so
that the file cache is warm.

A Llama in fp32, timed by turns in one process: the ratio should be 1.1 or less. With --vlm a Llava of such a Llama and
a CLIP tower: likewise. With --moe a Qwen3-MoE in bf16 of 8 layers of 64 experts, timed by turns in fresh processes: 0.7
or less, and a peak of 1.5 or less.

    python benchmarks/load.py [--moe | --vlm] [--megabytes 1000] [--rounds 7] [--projections split packed] [--json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from nemo_automodel import NeMoAutoModelForCausalLM, NeMoAutoModelForImageTextToText

HIDDEN, WIDTH, VOCABULARY = 1024, 2816, 32_000
LAYER_BYTES = 4 * (2 * HIDDEN * HIDDEN + 2 * HIDDEN * HIDDEN // 4 + 3 * HIDDEN * WIDTH)
EXPERTS, MOE_LAYERS = 64, 8
TOWER = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLASSES = {one.__name__: one for one in (LlamaForCausalLM, LlavaForConditionalGeneration, Qwen3MoeForCausalLM)}


def llama(megabytes):
    embedding = 4 * HIDDEN * VOCABULARY
    return LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=WIDTH,
        num_attention_heads=16,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
        num_hidden_layers=max(1, round((megabytes * 1e6 - embedding) / LAYER_BYTES)),
        tie_word_embeddings=True,
    )


def write_checkpoint(folder, megabytes):
    """A Llama of random weights in shards of a tenth of its size."""
    torch.manual_seed(0)
    LlamaForCausalLM(llama(megabytes)).save_pretrained(folder, max_shard_size=f"{max(1, megabytes // 10)}MB")


def write_vlm_checkpoint(folder, megabytes):
    """A Llava of random weights, a third of them its tower's, in shards of a tenth of its size."""
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=llama(megabytes - megabytes // 3),
        vision_config={"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14, **TOWER},
        image_token_id=VOCABULARY - 1,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    model.save_pretrained(folder, max_shard_size=f"{max(1, megabytes // 10)}MB")


def write_moe_checkpoint(folder, megabytes):
    """A Qwen3-MoE of random weights, its experts as wide as the size asks, in shards of a tenth of it."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        hidden_size=HIDDEN,
        moe_intermediate_size=max(16, round(megabytes * 1e6 / (2 * MOE_LAYERS * EXPERTS * 3 * HIDDEN))),
        num_experts=EXPERTS,
        num_experts_per_tok=4,
        num_hidden_layers=MOE_LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=128,
        vocab_size=VOCABULARY // 10,
    )
    model = Qwen3MoeForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=f"{max(1, megabytes // 10)}MB")


def load(kind, folder):
    config = json.loads((Path(folder) / "config.json").read_text())
    if kind == "theirs":
        return CLASSES[config["architectures"][0]].from_pretrained(folder)
    ours = NeMoAutoModelForImageTextToText if "vision_config" in config else NeMoAutoModelForCausalLM
    return ours.from_pretrained(folder, backend={"projections": kind})


def warm(folder):
    """Reads the files into the cache: systems that reclaim cold pages drop them between rounds."""
    for file in Path(folder).glob("*.safetensors"):
        with file.open("rb", buffering=0) as stream:
            while stream.read(1 << 24):
                pass


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


def apart(what, kind, folder):
    """The result of `timed` or `peak` in a process of its own."""
    command = [sys.executable, __file__, "--alone", what, kind, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"loading ({kind}) failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder, kinds, rounds, run):
    """{kind: {load, read: {median, fastest, spread, ratio, ...}, peak}}; the first round does not count.

    run: kind, folder -> the times of one loading.
    """
    runs = {kind: [] for kind in kinds}
    for turn in range(rounds + 1):
        print(f"round {turn} of {rounds}", file=sys.stderr)
        for kind in kinds if turn % 2 else kinds[::-1]:
            warm(folder)
            runs[kind].append(run(kind, folder))
    results = {}
    for kind in kinds:
        results[kind] = {what: summary([run[what] for run in runs[kind][1:]]) for what in ("load", "read")}
        for what, result in results[kind].items():
            result["ratio"] = result["median"] / results["theirs"][what]["median"]
            result["ratio_of_fastest"] = result["fastest"] / results["theirs"][what]["fastest"]
        results[kind]["peak"] = apart("peak", kind, folder)
    return results


def summary(times):
    median = statistics.median(times)
    return {"median": median, "fastest": min(times), "spread": (max(times) - min(times)) / median}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--moe", action="store_true")
    shape.add_argument("--vlm", action="store_true")
    parser.add_argument("--projections", nargs="+", choices=["split", "packed"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--alone", nargs=3, metavar=("WHAT", "KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        what, kind, folder = options.alone
        print(json.dumps({"timed": timed, "peak": peak}[what](kind, folder)))
        return
    projections = options.projections or (["split"] if options.moe or options.vlm else ["split", "packed"])
    with tempfile.TemporaryDirectory() as folder:
        write = write_moe_checkpoint if options.moe else write_vlm_checkpoint if options.vlm else write_checkpoint
        write(folder, options.megabytes)
        size = sum(file.stat().st_size for file in Path(folder).glob("*.safetensors"))
        run = partial(apart, "timed") if options.moe else timed
        results = measure(folder, ["theirs", *projections], options.rounds, run)
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
