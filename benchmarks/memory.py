"""Bytes that autograd keeps for the backward pass, per token and layer, against transformers' own class with sdpa.

Counted through saved-tensor hooks: each storage once, parameters left out, the models of `train_step.py`. They are the
same on every run of one number of threads, and on a CPU as on a GPU but where a primitive asks how large its input is.

    python benchmarks/memory.py [--model llama qwen3_moe] [--dtype float32 bfloat16] [--threads N]
"""

import argparse

import torch
from torch.autograd.graph import saved_tensors_hooks
from train_step import MODELS, build


def kept(model, given):
    """Bytes between a forward with these keywords and its backward pass."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {}

    def keep(saved):
        storage = saved.untyped_storage()
        storages[storage.data_ptr()] = storage  # held: no other takes its address
        return saved

    with saved_tensors_hooks(keep, lambda saved: saved):
        loss = model(**given, use_cache=False).loss
    found = sum(storage.nbytes() for address, storage in storages.items() if address not in own)
    del loss
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--dtype", nargs="+", choices=["float32", "bfloat16"], default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'model':10} {'dtype':9} {'ours':>9} {'theirs':>9}  ratio   (bytes a token and layer)")
    for name in options.model:
        _, shape, batch = MODELS[name]
        for dtype in options.dtype:
            ours, theirs = build(name, getattr(torch, dtype))
            ids = torch.randint(shape["vocab_size"], batch)
            given, places = {"input_ids": ids, "labels": ids}, ids.numel() * shape["num_hidden_layers"]
            a, b = (kept(model, given) / places for model in (ours, theirs))
            print(f"{name:10} {dtype:9} {a:9.0f} {b:9.0f}  {a / b:.3f}")


if __name__ == "__main__":
    main()
