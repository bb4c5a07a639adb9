"""What each process of test_matrix.py does: `in_processes(COUNT, matrix_run.py, DIR, STEP, ...)`.

A step is such as `compare:dense:dp_shard=2,tp=2`: what is done, with which model, at which shape.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import get_model_state_dict, set_model_state_dict
from transformers import LlamaConfig, MistralConfig, Qwen3MoeConfig

from nemo_automodel import NeMoAutoModelForCausalLM
from nemo_automodel.recipes.parallel.apply import parallelize
from nemo_automodel.recipes.parallel.gathering import whole, whole_state
from nemo_automodel.recipes.parallel.meshes import Meshes
from nemo_automodel.recipes.parallel.sequences import piece
from nemo_automodel.recipes.parallel.sizes import Sizes
from nemo_automodel.recipes.parallel.stages import Pipeline

BOUND = 1e-5
SIZES = {
    **{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2},
}
EXPERTS = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "mlp_only_layers": [1]}
MODELS = {
    "dense": (LlamaConfig, {}, "split"),
    "packed": (LlamaConfig, {}, "packed"),
    "tied": (LlamaConfig, {"tie_word_embeddings": True}, "split"),
    "odd": (LlamaConfig, {"vocab_size": 63, "attention_bias": True, "mlp_bias": True}, "split"),
    "windows": (MistralConfig, {"sliding_window": 4}, "split"),
    "mixture": (Qwen3MoeConfig, EXPERTS, "split"),
}
BATCH, LENGTH = 8, 11  # of texts, which no number of pieces divides


def build(kind):
    """The same on every process; also what starts at 0 or 1 is random."""
    config, fields, projections = MODELS[kind]
    torch.manual_seed(0)
    model = NeMoAutoModelForCausalLM.from_config(config(**SIZES | fields), backend={"projections": projections}).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return model


def laid_out(kind, shape):
    meshes, model = Meshes(shape, "cpu"), build(kind)
    return model, meshes, parallelize(model, meshes)


def compare(folder, kind, shape):
    """Loss and gradients of a batch, against those of one process."""
    compare_with(build(kind), build(kind), shape, f"{kind}, {shape}")


def compare_with(alone, model, shape, where):
    """Loss and gradients of a model that is made parallel, against its equal. Gradients that are 0 but for rounding (of
    biases of keys) are held to the rounding of the largest, 1e-7 of it."""
    ids = torch.randint(3, 60, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))
    labels = ids.masked_fill(ids % 5 == 0, -100)
    count = labels[:, 1:].ne(-100).sum()
    expected = alone(ids, labels=labels, num_items_in_batch=count, use_cache=False).loss
    expected.backward()
    meshes = Meshes(shape, "cpu")
    root = parallelize(model, meshes)
    mine = dist.get_rank() // shape.sharing
    inputs = {"input_ids": ids.chunk(shape.batches)[mine], "labels": labels.chunk(shape.batches)[mine]}
    loss = trained(model, root, meshes, piece(inputs, meshes["cp"]) if shape.cp > 1 else inputs, count)
    dist.all_reduce(loss)
    error = abs(loss.item() / dist.get_world_size() - expected.item())
    assert error < BOUND * max(1, expected.item()), f"{where}: the loss is off by {error:.1e}"
    wanted = {name: parameter.grad for name, parameter in alone.named_parameters() if parameter.grad is not None}
    largest = max(grad.abs().max() for grad in wanted.values())
    for name, parameter in model.named_parameters():
        if name in wanted:
            least = wanted[name].abs().max().clamp(min=1e-2 * largest)
            error = (whole(parameter.grad) - wanted[name]).abs().max() / least
            assert error < BOUND, f"{where}: {name} is off by {error:.1e}"
        assert (parameter.grad is None) == (name not in wanted), f"{where}: {name}"


def trained(model, root, meshes, inputs, count):
    """This process's share of the loss, after a backward pass."""
    scale = meshes.sizes.batches * meshes.sizes.cp
    if meshes.sizes.pp > 1:
        return Pipeline(root, meshes["pp"], torch.device("cpu"), torch.float32).step(inputs, count, scale)
    loss = model(**inputs, num_items_in_batch=count, use_cache=False).loss * scale
    loss.backward()
    return loss.detach()


def is_spread(folder, kind, shape):
    """No process holds a whole layer: numbers of parameters that are here, by what one process would hold."""
    model, meshes, _ = laid_out(kind, shape)
    here = sum(getattr(p, "to_local", lambda p=p: p)().numel() for p in model.parameters())
    everywhere = torch.tensor(here)
    dist.all_reduce(everywhere)
    total = sum(p.numel() for p in build(kind).parameters())
    spread = shape.dp_shard * shape.ep * shape.cp  # which FSDP2 shards over, and so cuts whatever the plan leaves whole
    assert here <= 1.1 * total / max(spread, 1), (here, total)
    assert everywhere < dist.get_world_size() * total, "every process holds everything"


def save(folder, kind, shape):
    model, _, _ = laid_out(kind, shape)
    dcp.save({"model": get_model_state_dict(model)}, checkpoint_id=Path(folder, kind))


def load(folder, kind, shape):
    """What another shape saved, into a model of zeros."""
    model, meshes, _ = laid_out(kind, shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    state = {"model": get_model_state_dict(model)}
    dcp.load(state, checkpoint_id=Path(folder, kind))
    set_model_state_dict(model, state["model"])
    found = whole_state(model, meshes)
    if dist.get_rank() == 0:
        wanted = build(kind).state_dict()
        assert set(found) == set(wanted)
        assert all(found[name].equal(tensor) for name, tensor in wanted.items())


def export(folder, kind, shape):
    """The checkpoint of the hub, byte by byte that of one process."""
    model, meshes, _ = laid_out(kind, shape)
    state = whole_state(model, meshes)
    if dist.get_rank() == 0:
        here, alone = Path(folder, f"{kind}-{shape}"), Path(folder, f"{kind}-alone")
        model.save_pretrained(here, state_dict=state)
        build(kind).save_pretrained(alone)
        assert sorted(path.name for path in here.iterdir()) == sorted(path.name for path in alone.iterdir())
        for path in alone.iterdir():
            assert path.read_bytes() == (here / path.name).read_bytes(), f"{path.name} differs"
        assert load_file(here / "model.safetensors")
    dist.barrier()


STEPS = {"compare": compare, "spread": is_spread, "save": save, "load": load, "export": export}


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    _, directory, *steps = sys.argv
    for step in steps:
        what, kind, sizes = step.split(":")
        shape = Sizes(**{name: int(size) for name, size in (one.split("=") for one in sizes.split(","))})
        STEPS[what](directory, kind, shape)
    dist.barrier()
    sys.stderr.flush()
    os._exit(0)  # everything is asserted; gloo's threads under FSDP2 now and then abort an interpreter that takes leave
