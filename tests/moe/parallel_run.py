"""What each process of test_dispatch.py does: `in_processes(COUNT, parallel_run.py, DIR, STEP, ...)`."""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard

from nemo_automodel.components.models.qwen3_moe.model import Qwen3MoeForCausalLM
from nemo_automodel.components.moe.dispatch import parallelize_experts
from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.recipes.sharding import shard
from tests.moe.tiny import tiny_config

FULL = StateDictOptions(full_state_dict=True)
MICRO_BATCHES = 2


def build():
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM._from_config(tiny_config()).train()


def batches(ranks):
    """[micro batch][rank] -> ids [2, 7], the same everywhere."""
    return torch.randint(1, 61, (MICRO_BATCHES, ranks, 2, 7), generator=torch.Generator().manual_seed(1))


def single(ranks):
    """{name: gradient} and the losses of one process on everybody's batches."""
    model, losses = build(), []
    for micro in batches(ranks):
        for ids in micro:
            loss = model(ids, labels=ids).loss / MICRO_BATCHES / ranks
            loss.backward()
            losses.append(loss.detach() * MICRO_BATCHES * ranks)
    return {name: p.grad for name, p in model.named_parameters()}, losses


def parallelize(model, mode, ranks):
    """mode `ep`: experts over all processes; `fsdp`: over two, and FSDP over what remains (alone: over two)."""
    if mode == "ep":
        mesh = init_device_mesh("cpu", (ranks,), mesh_dim_names=("ep",))
        return parallelize_experts(model, mesh)
    mesh = init_device_mesh("cpu", (ranks // 2, 2), mesh_dim_names=("dp", "ep"))
    parallelize_experts(model, mesh["ep"])
    everyone = mesh._flatten("all")
    for layer in model.model.layers:
        if isinstance(layer.mlp, MoE):
            fully_shard(layer.mlp.experts, mesh=mesh["dp"])
        fully_shard(layer, mesh=everyone)
    return fully_shard(model, mesh=everyone)


def train(model, ranks, rank):
    losses = []
    for number, micro in enumerate(batches(ranks)):
        if number + 1 < MICRO_BATCHES:
            model.prepare_for_grad_accumulation()
        else:
            model.prepare_for_final_backward()
        loss = model(micro[rank], labels=micro[rank]).loss
        (loss / MICRO_BATCHES).backward()
        losses.append(loss.detach())
    return losses


def whole_gradients(model, ranks):
    """Means over all processes, as one process would have them."""
    for name, parameter in model.named_parameters():
        grad = parameter.grad
        if isinstance(grad, DTensor):
            grad = grad.full_tensor()
        elif not isinstance(model, FSDPModule):
            dist.all_reduce(grad)
            grad = grad / ranks
        yield name, grad


def compare(folder, mode):
    ranks, rank = dist.get_world_size(), dist.get_rank()
    expected, expected_losses = single(ranks)
    model = parallelize(build(), mode, ranks)
    losses = train(model, ranks, rank)
    for number, loss in enumerate(losses):
        torch.testing.assert_close(loss, expected_losses[number * ranks + rank], atol=1e-5, rtol=1e-5)
    for name, grad in whole_gradients(model, ranks):
        error = (grad - expected[name]).abs().max() / expected[name].abs().max().clamp(min=1e-6)
        assert error < 1e-5, f"{mode} on {ranks}: {name} is off by {error:.1e}"


def accumulate(folder, mode):
    """Under FSDP2 alone: up to the last backward pass gradients are this process's own, and whole; then reduced."""
    ranks, rank = dist.get_world_size(), dist.get_rank()
    expected, (first, last) = single(ranks)[0], batches(ranks)[:, rank]
    alone, model = build(), build()
    (alone(first, labels=first).loss / MICRO_BATCHES).backward()
    shard(model, "cpu", reshard_after_forward=mode == "reshard")
    model.prepare_for_grad_accumulation()
    (model(first, labels=first).loss / MICRO_BATCHES).backward()
    for (name, parameter), local in zip(model.named_parameters(), alone.parameters(), strict=True):
        assert not isinstance(parameter, DTensor), f"{name} was sharded again between two backward passes"
        torch.testing.assert_close(parameter.grad, local.grad, msg=lambda text, name=name: f"{name}: {text}")
    model.prepare_for_final_backward()
    (model(last, labels=last).loss / MICRO_BATCHES).backward()
    for name, parameter in model.named_parameters():
        assert parameter.placements == (Shard(0),) and parameter.to_local().numel() < parameter.numel(), name
        error = (parameter.grad.full_tensor() - expected[name]).abs().max() / expected[name].abs().max()
        assert error < 1e-5, f"{name} is off by {error:.1e}"


def save(folder, mode):
    model = parallelize(build(), mode, dist.get_world_size())
    dcp.save({"model": get_model_state_dict(model)}, checkpoint_id=folder)
    whole = get_model_state_dict(model, options=FULL)
    if dist.get_rank() == 0:
        torch.save(whole, Path(folder) / "whole.pt")


def load(folder, mode):
    model = build()
    if mode != "alone":
        model = parallelize(model, mode, dist.get_world_size())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    state = {"model": get_model_state_dict(model)}
    dcp.load(state, checkpoint_id=folder)
    set_model_state_dict(model, state["model"])
    whole, expected = get_model_state_dict(model, options=FULL), build().state_dict()
    if mode == "alone" or dist.get_rank() == 0:
        saved = torch.load(Path(folder) / "whole.pt")
        for name, tensor in expected.items():
            assert whole[name].equal(tensor) and saved[name].equal(tensor), name
        exported, wanted = (model.state_dict_adapter.to_hf(dict(state)) for state in (whole, expected))
        assert list(exported) == list(wanted)
        assert all(exported[name].equal(tensor) for name, tensor in wanted.items())


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    _, directory, *steps = sys.argv
    for step in steps:  # such as compare:ep
        what, how = step.split(":")
        {"compare": compare, "accumulate": accumulate, "save": save, "load": load}[what](directory, how)
    dist.barrier()
    sys.stderr.flush()
    os._exit(0)  # everything is asserted; gloo's threads under FSDP2 now and then abort an interpreter that takes leave
