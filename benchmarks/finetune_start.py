"""From the start of a recipe to the end of its first step, against plain scripts of transformers and TRL.

A Llama in fp32 with its tokenizer, in shards, and a text of the repository's own pages: trained by the recipe, as
`automodel-finetune` (`launch`) and as `python -m nemo_automodel.recipes.finetune` (`module`), and by `plain/text.py`,
as the documentation of transformers shows it (`script`). With --data chat conversations, beside `plain/chat.py`, as
TRL's does. All have the same hyperparameters, and the first losses must be equal. The small model's time is that of
imports.

Each run is a process of its own, by turns. Until the loss of the first step is told: `start` in seconds, `processor` in
seconds of processor, which others on the machine disturb least, and `peak`, the largest resident size. `whole` is that
of the whole run: three steps, saving, and of ours a picture of the losses. Ratios are ours / theirs (1.0 or less: ours
is no slower).

    python benchmarks/finetune_start.py [--data text chat] [--size small large] [--rounds 5]
        [--warm 1] [--threads 1] [--json]
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
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from watched import watch

HERE = Path(__file__).resolve().parent
PAGES = sorted((HERE.parent / "docs").glob("*.md"))
SIZES = {  # megabytes of weights: 2, and 855
    "small": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "large": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16, "num_attention_heads": 16},
}
VOCABULARY, SPECIAL, STEPS, LENGTH = 8192, ["<pad>", "<eos>", "<|im_start|>", "<|im_end|>"], 3, 64
TEMPLATE = (  # which marks answers: TRL asks for that
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENTRIES = {"launch": "nemo_automodel.recipes.launch", "module": "nemo_automodel.recipes.finetune"}
WHAT = {"start": "s", "processor": "s", "peak": "MiB", "whole": "MiB"}


def words():
    """A tokenizer of the pages' words."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train([str(page) for page in PAGES], trainer)
    named = {"pad_token": "<pad>", "eos_token": "<eos>", "extra_special_tokens": SPECIAL[2:]}
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=TEMPLATE, **named)


def write_checkpoint(folder, size):
    """A Llama of random weights in ten shards, and its tokenizer."""
    torch.manual_seed(0)
    words().save_pretrained(folder)
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, **special, **SIZES[size]))
    model.save_pretrained(folder, max_shard_size=f"{max(1, model.num_parameters() * 4 // 10_000_000)}MB")


def write_data(folder):
    """{data: file}: the pages as a text, and questions about their lines."""
    lines = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines() if line.strip()]
    text, rows = folder / "text.txt", folder / "rows.jsonl"
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    turns = [
        [{"role": "user", "content": f"What is behind this? {first}"}, {"role": "assistant", "content": second}]
        for first, second in pairwise(lines[:400])
    ]
    rows.write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns), encoding="utf-8")
    return {"text": text, "chat": rows}


def recipe(data, checkpoint, file, output):
    """What the plain script of this data says, as a recipe."""
    target = {"text": "data.TextDataset", "chat": "chat.ChatDataset"}[data]
    return {
        "model": {
            "_target_": "nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained",
            "pretrained_model_name_or_path": str(checkpoint),
        },
        "dataset": {"_target_": f"nemo_automodel.recipes.{target}", "path": str(file)}
        | ({"sequence_length": LENGTH} if data == "text" else {}),
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1e-4, "weight_decay": 0.0, "fused": True},  # the Trainer's
        "trainer": {"output_dir": str(output), "max_steps": STEPS, "per_device_train_batch_size": 1}
        | {"logging_steps": 1, "save_strategy": "no"},
    }


def command(side, data, checkpoint, file, output):
    if side == "script":
        more = [str(STEPS), str(LENGTH)] if data == "text" else [str(STEPS)]
        return [sys.executable, str(HERE / "plain" / f"{data}.py"), str(checkpoint), str(file), str(output), *more]
    path = output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe(data, checkpoint, file, output)), encoding="utf-8")
    return [sys.executable, "-m", ENTRIES[side], str(path)]


def run(side, data, checkpoint, file, threads):
    """{start, processor, peak, whole, losses} of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output"
        logs, whole = watch(command(side, data, checkpoint, file, output), threads)
        history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    first = {"start": logs[0].seconds, "processor": logs[0].processor, "peak": logs[0].peak}
    return first | {"whole": whole, "losses": losses}


def measure(data, checkpoint, file, options):
    """{side: {start, processor, peak, whole: {median, low, high, ratio}, losses}}."""
    sides, runs = ["script", *options.entry], {}
    for turn in range(options.warm + options.rounds):
        print(f"{data}: round {turn + 1} of {options.warm} + {options.rounds}", file=sys.stderr)
        for side in sides if turn % 2 else sides[::-1]:
            runs.setdefault(side, []).append(run(side, data, checkpoint, file, options.threads))
    results = {side: summary(runs[side][options.warm :]) for side in sides}
    for result in results.values():
        for what in WHAT:
            result[what]["ratio"] = result[what]["median"] / results["script"][what]["median"]
    return results


def summary(runs):
    columns = {what: [one[what] for one in runs] for what in WHAT}
    told = {name: {"median": statistics.median(c), "low": min(c), "high": max(c)} for name, c in columns.items()}
    return told | {"losses": runs[0]["losses"]}


def print_results(name, results):
    for side, result in results.items():
        for what, unit in WHAT.items():
            r = result[what]
            numbers = f"{r['median']:8.2f} {unit} ({r['low']:.2f} to {r['high']:.2f})"
            print(f"{name:12} {side:7} {what:10} {numbers}, ratio {r['ratio']:.3f}", flush=True)
        print(f"{name:12} {side:7} losses     {', '.join(f'{loss:.6f}' for loss in result['losses'])}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=["text", "chat"], default=["text", "chat"])
    parser.add_argument("--size", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--entry", nargs="+", choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm", type=int, default=1, help="rounds before them, which do not count")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        files = write_data(Path(folder))
        for size in options.size:
            write_checkpoint(Path(folder) / size, size)
            for data in options.data:
                name = f"{data} {size}"
                results[name] = measure(data, Path(folder) / size, files[data], options)
                if not options.json:
                    print_results(name, results[name])
    if options.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
