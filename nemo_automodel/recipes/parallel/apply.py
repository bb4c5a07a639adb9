"""Makes a model parallel along every axis, in the one order that works."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from nemo_automodel.components.moe.dispatch import parallelize_experts
from nemo_automodel.components.moe.layers import MoE
from nemo_automodel.recipes.parallel import sequences, stages, tensors
from nemo_automodel.recipes.parallel.meshes import Meshes
from nemo_automodel.recipes.sharding import shard


def parallelize(model: PreTrainedModel, meshes: Meshes, *, bf16: bool = False, **options: Any) -> nn.Module:
    """Cut, spread and shard a whole model, in place; weights must be equal on all processes.

    options: as of `shard`. Returns what is called in training: the model, or the `Stage` that holds it.
    """
    sizes = meshes.sizes
    if sizes.pp > 1:
        stages.keep_stage(model, meshes["pp"].get_local_rank(), sizes.pp)
    if sizes.tp > 1:
        tensors.cut(model, meshes["tp"])
    experts = [module.routed_experts for module in model.modules() if isinstance(module, MoE)]  # of this stage
    if sizes.ep > 1 and experts:
        parallelize_experts(model, meshes["ep"])
    if sizes.cp > 1:
        sequences.spread(model, meshes["cp"])
    root = stages.Stage(model) if sizes.pp > 1 else model
    apart = dict.fromkeys(experts, meshes.expert_shards) if sizes.ep > 1 else None
    shard(model, meshes.all.device_type, bf16=bf16, mesh=meshes.shards, apart=apart, root=root, **options)
    return root
