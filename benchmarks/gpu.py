"""What the kernels of `docs/backends.md` are worth on a card: one command, whose tables are to be pasted.

Kernels: bytes that the formula must read and write, by the time that it took, beside a copy on the same card.
A layer: forward and backward of one layer of the model, with each fusion alone and with all.
A step: of the whole model with AdamW, of transformers' class, and of that with liger-kernel where it is installed; each
is built, warmed up, measured and let go by itself, so that the peak of memory is its own.

What cannot run says why. On a CPU it runs too, to be tested: its numbers then say nothing of a card.

    python benchmarks/gpu.py [--model llama qwen3_moe] [--dtype bfloat16] [--batch 4] [--length 2048] [--runs 20]
"""

import argparse
import gc
import statistics
import time
from importlib.metadata import PackageNotFoundError, version

import torch
from gpu_kernels import KERNELS
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.components.models.common.backend import BackendConfig
from nemo_automodel.recipes.flops import flops_per_token, peak_of
from nemo_automodel.recipes.throughput import peak_memory

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HEADS = {
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "hidden_size": 2048,
    "vocab_size": 32_000,
}
MIXTURE = {"num_experts": 64, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
MODELS = {  # transformers' class, config
    "llama": (LlamaForCausalLM, LlamaConfig(**HEADS, intermediate_size=8192, num_hidden_layers=16)),
    "qwen3_moe": (Qwen3MoeForCausalLM, Qwen3MoeConfig(**HEADS, **MIXTURE, num_hidden_layers=8)),
}
TINY = {
    **{"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "hidden_size": 16, "vocab_size": 32},
    **{"intermediate_size": 24, "num_hidden_layers": 2},
    **{"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
}
FUSIONS = {  # what a row switches on; all else is PyTorch's
    "all PyTorch": {},
    "rms_norm triton": {"rms_norm": "triton"},
    "rms_norm liger": {"rms_norm": "liger"},
    "glu triton": {"glu": "triton"},
    "glu liger": {"glu": "liger"},
    "rope triton": {"rope": "triton"},
    "experts triton": {"experts": "triton"},
    "all triton": {"rms_norm": "triton", "glu": "triton", "rope": "triton", "experts": "triton"},
}
PLAIN = {"rms_norm": "torch", "glu": "torch", "rope": "torch", "experts": "grouped_mm"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="sizes of a test")
    options = parser.parse_args()
    if options.tiny:
        options.batch, options.length, options.runs = 2, 3, 1
    options.dtype = getattr(torch, options.dtype)
    print_machine(options)
    print_kernels(options)
    for name in options.model:
        print_layers(name, options)
        print_steps(name, options)


def print_machine(options):
    card = torch.cuda.get_device_name() if DEVICE == "cuda" else "no card: these numbers say nothing of one"
    found = ", ".join(
        f"{package} {installed(package)}" for package in ("torch", "transformers", "triton", "liger-kernel")
    )
    print(f"{card}; {found}; {options.dtype}, {options.batch} rows of {options.length} tokens\n")


def installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def print_table(title, columns, rows):
    print(f"{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


def measured(call, options, times=1):
    """Seconds of a call: (median, least, most) of several runs, each of so many calls, after two to warm up."""
    found, times = [], 1 if options.tiny else times
    for run in range(-1 if options.tiny else -2, options.runs):
        wait()
        start = time.perf_counter()
        for _ in range(times):
            call()
        wait()
        if run >= 0:
            found.append((time.perf_counter() - start) / times)
    return statistics.median(found), min(found), max(found)


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def why_not(choice):
    """Why a backend cannot run here, or None."""
    try:
        BackendConfig(**choice).resolved()
    except (ImportError, RuntimeError) as error:
        return str(error).split(": ")[1]  # backend.FIELD: REASON: CURE
    return None


def print_kernels(options):
    width = 16 if options.tiny else 4096
    tokens = options.batch * options.length
    copied = torch.empty(tokens, width, dtype=options.dtype, device=DEVICE)
    copy = 2 * copied.nbytes / measured(copied.clone, options, 10)[0]
    rows = [("copy", "", f"{copy / 1e9:.1f}", "100 %", "", "")]
    for name, kernel in KERNELS.items():
        for by in kernel.forms:
            rows.append((name, by, *of_kernel(kernel, by, tokens, width, copy, options)))
    columns = ("kernel", "backend", "forward GB/s", "of a copy", "with backward GB/s", "of a copy")
    print_table("Kernels", columns, rows)


def of_kernel(kernel, by, tokens, width, copy, options):
    """Four cells: bytes a second forward, and forward and backward, each beside a copy's."""
    if by != "torch" and (reason := why_not({"rms_norm": by})):
        return reason, "", "", ""
    torch.manual_seed(0)
    call, leaves = kernel.make(by, tokens, width, options.dtype, DEVICE)
    grads = [torch.ones_like(y) for y in call()]

    def both():
        torch.autograd.grad(call(), leaves, grads)

    with torch.no_grad():
        forward = measured(call, options, 10)[0]
    size = tokens * width * options.dtype.itemsize
    moved = kernel.forward * size, (kernel.forward + kernel.backward) * size
    speeds = moved[0] / forward, moved[1] / measured(both, options, 5)[0]
    return tuple(cell for speed in speeds for cell in (f"{speed / 1e9:.1f}", f"{100 * speed / copy:.0f} %"))


def config_of(name, options, **fields):
    reference, config = MODELS[name]
    sizes = {key: value for key, value in TINY.items() if hasattr(config, key)} if options.tiny else {}
    return reference, type(config)(**{**config.to_dict(), **sizes, **fields})


def chosen(name):
    """{row: backend} of what this model has."""
    of_experts = [row for row in FUSIONS if "experts" in row and name != "qwen3_moe"]
    return {row: {**PLAIN, **choice} for row, choice in FUSIONS.items() if row not in of_experts}


def ours(name, choice, options, **fields):
    torch.manual_seed(0)
    _, config = config_of(name, options, **fields)
    with torch.device(DEVICE):
        model = NeMoAutoModelForCausalLM.from_config(config, backend=choice, dtype=options.dtype)
    return model.to(DEVICE).train()


def print_layers(name, options):
    rows, base = [], None
    for row, choice in chosen(name).items():
        if reason := why_not(choice):
            rows.append((row, reason, "", ""))
            continue
        median, least, most = of_layer(ours(name, choice, options, num_hidden_layers=1), options)
        base = base or median
        rows.append((row, f"{median * 1e3:.2f}", f"{least * 1e3:.2f} to {most * 1e3:.2f}", f"{base / median:.2f} ×"))
    print_table(f"One layer of {name}, forward and backward", ("fusion", "ms", "range", "speed"), rows)


def of_layer(model, options):
    shape = options.batch, options.length, model.config.hidden_size
    x = torch.randn(shape, dtype=options.dtype, device=DEVICE, requires_grad=True)

    def call():
        model.base_model(inputs_embeds=x, use_cache=False).last_hidden_state.sum().backward()

    return measured(call, options)


def print_steps(name, options):
    """transformers' with liger-kernel last: it changes their module for good."""
    made = {f"ours, {row}": lambda c=choice: ours(name, c, options) for row, choice in chosen(name).items()}
    reasons = {f"ours, {row}": why_not(choice) for row, choice in chosen(name).items()}
    made |= {"transformers": lambda: theirs(name, options), "transformers, liger": lambda: with_liger(name, options)}
    reasons["transformers, liger"] = why_not({"rms_norm": "liger"}) or (DEVICE == "cpu" and "needs a card") or None
    found = {row: None if reasons.get(row) else of_step(make, options) for row, make in made.items()}
    base = found["transformers"]["tokens"]
    rows = [(row, *(cells(one, base) if one else (reasons[row], *[""] * 5))) for row, one in found.items()]
    columns = ("model", "ms a step", "range", "tokens/s", "of transformers", "MFU", "peak GB")
    print_table(f"A step of {name}", columns, rows)


def theirs(name, options):
    torch.manual_seed(0)
    reference, config = config_of(name, options)
    choices = {"attn_implementation": "sdpa", "dtype": options.dtype}
    if name == "qwen3_moe":
        choices["experts_implementation"] = "grouped_mm"
    return reference._from_config(config, **choices).to(DEVICE).train()


def with_liger(name, options):
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    model = theirs(name, options)
    _apply_liger_kernel_to_instance(model=model)
    return model


def of_step(make, options):
    """{seconds: (median, least, most), tokens: a second, mfu or None, peak: in GB}."""
    gc.collect()  # of the model before
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = make()
    seconds = measured(make_step(model, options), options)
    speed = options.batch * options.length / seconds[0]
    peak = peak_of(torch.cuda.get_device_name()) if DEVICE == "cuda" and options.dtype == torch.bfloat16 else None
    mfu = speed * flops_per_token(model, options.length) / peak if peak else None
    return {"seconds": seconds, "tokens": speed, "mfu": mfu, "peak": peak_memory().get("peak_memory_gb", 0.0)}


def make_step(model, options):
    ids = torch.randint(model.config.vocab_size, (options.batch, options.length), device=DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step():
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def cells(one, base):
    median, least, most = (1e3 * value for value in one["seconds"])
    mfu = "not known" if one["mfu"] is None else f"{100 * one['mfu']:.1f} %"
    speed = f"{one['tokens']:.0f}", f"{one['tokens'] / base:.2f} ×"
    return f"{median:.1f}", f"{least:.1f} to {most:.1f}", *speed, mfu, f"{one['peak']:.2f}"


if __name__ == "__main__":
    main()
