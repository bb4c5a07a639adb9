"""Steps of a recipe that trains a mixture of experts under gradient accumulation, with our class and transformers'.

A Qwen3-MoE of 62 million parameters in fp32, of which a token meets 18, with sdpa; transformers' experts are its
`grouped_mm`. The same recipe with another `model._target_`, from the same checkpoint, in one process (`one`) and in two
under FSDP2 (`fsdp`, on gloo where there is no card), each with one thread, by turns; the losses must be equal. The
first step of a run does not count. Prints seconds of a step by the processor, of all processes, which others on the
machine disturb least, and by the clock, and the ratio theirs / ours of both: 1.15 or more.

    python benchmarks/finetune_mixture.py [--on one fsdp] [--rounds 3] [--steps 4] [--accumulate 4] [--json]
"""

import argparse
import json
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import torch
import yaml
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from watched import watch

SHAPE = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "tie_word_embeddings": False,
}
TARGETS = {"ours": "nemo_automodel.NeMoAutoModelForCausalLM", "theirs": "transformers.AutoModelForCausalLM"}
PROCESSES = {"one": 1, "fsdp": 2}


def write_checkpoint(folder, **sizes):
    """Random weights; tokens differ, so that untrained routers spread them as balanced ones do."""
    torch.manual_seed(0)
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**SHAPE | sizes))
    torch.nn.init.normal_(model.get_input_embeddings().weight)
    model.save_pretrained(folder)


def recipe(side, checkpoint, output, options):
    experts = {"experts_implementation": "grouped_mm"} if side == "theirs" else {}
    counting = {"samples": 256, "sequence_length": options.length}
    return {
        "model": {"_target_": f"{TARGETS[side]}.from_pretrained", "pretrained_model_name_or_path": str(checkpoint)}
        | {"attn_implementation": "sdpa"}
        | experts,
        "dataset": {"_target_": "nemo_automodel.recipes.data.MockDataset", **counting},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-4},
        "trainer": {"output_dir": str(output), "max_steps": options.steps + 1, "logging_steps": 1}
        | {"per_device_train_batch_size": options.batch, "gradient_accumulation_steps": options.accumulate}
        | {"save_strategy": "no"},
    }


def run(side, on, checkpoint, options):
    """([(processor, seconds) of each step but the first], losses)."""
    with tempfile.TemporaryDirectory() as folder:
        file, output = Path(folder) / "recipe.yaml", Path(folder) / "output"
        file.write_text(yaml.safe_dump(recipe(side, checkpoint, output, options)), encoding="utf-8")
        launched = [sys.executable, "-m", "nemo_automodel.recipes.launch", f"--nproc-per-node={PROCESSES[on]}"]
        logs, _ = watch([*launched, str(file)])
        history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    steps = [(b.processor - a.processor, b.seconds - a.seconds) for a, b in pairwise(logs)]
    return steps, [entry["loss"] for entry in history if "loss" in entry]


def measure(on, checkpoint, options):
    """{side: {processor, seconds: {median, low, high}, losses}, ratio, ratio_by_the_clock}."""
    steps, losses = {"ours": [], "theirs": []}, {}
    for turn in range(options.rounds):
        print(f"{on}: round {turn + 1} of {options.rounds}", file=sys.stderr)
        for side in sorted(steps, reverse=bool(turn % 2)):
            found, losses[side] = run(side, on, checkpoint, options)
            steps[side] += found
    told = {side: {"losses": losses[side], **summary(of)} for side, of in steps.items()}
    for what, name in (("processor", "ratio"), ("seconds", "ratio_by_the_clock")):
        told[name] = told["theirs"][what]["median"] / told["ours"][what]["median"]
    return told


def summary(steps):
    columns = zip(("processor", "seconds"), zip(*steps, strict=True), strict=True)
    return {name: {"median": statistics.median(c), "low": min(c), "high": max(c)} for name, c in columns}


def print_result(on, result):
    for side in TARGETS:
        for what in ("processor", "seconds"):
            r = result[side][what]
            print(f"{on:5} {side:6} {what:9} {r['median']:.3f} s ({r['low']:.3f} to {r['high']:.3f})", flush=True)
        print(f"{on:5} {side:6} losses    {', '.join(f'{loss:.6f}' for loss in result[side]['losses'])}", flush=True)
    print(f"{on:5} ratio {result['ratio']:.3f}, by the clock {result['ratio_by_the_clock']:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs="+", choices=list(PROCESSES), default=list(PROCESSES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--accumulate", type=int, default=4)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(folder)
        results = {}
        for on in options.on:
            results[on] = measure(on, folder, options)
            if not options.json:
                print_result(on, results[on])
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
