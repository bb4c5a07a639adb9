"""Expert parallelism: each process holds some experts, and tokens travel to them and back. The experts do not know."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import Shard, distribute_tensor

from nemo_automodel.components.models.common.nested import place
from nemo_automodel.components.moe.experts import GroupedExperts
from nemo_automodel.components.moe.grouping import sort_choices
from nemo_automodel.components.moe.layers import MoE


def parallelize_experts(model, mesh):
    """Shards the routed experts of every MoE layer over a 1-dimensional mesh (`ep`), in place; returns the model.

    Parameters become DTensors of Shard(0), so that FSDP2 over another dimension of the same parent mesh, and
    distributed checkpoints of any number of processes, work as for others. Every process sees a batch of its own; a
    parameter's gradient is the mean over the processes of `mesh`, as FSDP's and DDP's are for all other parameters.
    Raises ValueError where experts do not divide, or there is nothing to shard.
    """
    layers = [module for module in model.modules() if isinstance(module, MoE)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no mixture-of-experts layer to spread over the mesh")
    for layer in layers:
        shard_experts(layer.routed_experts, mesh)
        layer.dispatcher = AllToAllDispatcher(mesh.get_group(), layer.routed_experts.num_experts)
    return model


def shard_experts(experts: GroupedExperts, mesh):
    """Replaces each parameter by its DTensor; random values must agree between processes, as loaded ones do."""
    if experts.num_experts % mesh.size():
        raise ValueError(f"{experts.num_experts} experts do not divide among {mesh.size()} processes")
    for name, parameter in list(experts.named_parameters()):
        if parameter.dim() > 1:  # an activation's numbers are for all experts
            shard = distribute_tensor(parameter.detach(), mesh, [Shard(0)])
            place(experts, name, nn.Parameter(shard, parameter.requires_grad))


class AllToAllDispatcher:
    """Calls experts that are spread over a process group as if they were here: (experts, x, indices, weights) -> y."""

    def __init__(self, group, num_experts):
        self.group, self.size = group, dist.get_world_size(group)
        self.experts_each = num_experts // self.size

    def __call__(self, experts, x, indices, weights):
        """x [T, D], indices and weights [T, k] of all experts -> [T, D]; choices from E on add nothing."""
        order, sent = sort_choices(indices // self.experts_each, self.size)
        order = order[: int(sent.sum())]
        received = self._counts(sent)
        splits = sent.tolist(), received.tolist()
        token = order // indices.shape[1]
        rows = self._exchange(x[token], *splits, scale=self.size)
        ids = self._exchange((indices % self.experts_each).flatten()[order, None], *splits)
        # weights travel beside their rows, so that experts apply them where their own mathematics says
        factors = self._exchange(weights.flatten()[order, None], *splits, scale=self.size)
        y = self._exchange(experts(rows, ids, factors), *splits[::-1], scale=1 / self.size)
        return torch.zeros_like(x).index_add(0, token, y)

    def _counts(self, sent):
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=self.group)
        return received

    def _exchange(self, rows, sent, received, scale=None):
        return _Exchange.apply(rows, sent, received, self.group, scale)


class _Exchange(torch.autograd.Function):
    """Rows [S, D] to the processes in order, `sent` to each; the gradient travels back, multiplied by `scale`.

    Experts see every process's loss, so their gradients would be sums where others are means: the scale is 1 / size on
    what comes back from them, and size on what went to them, whose own gradients stay as they are.
    """

    @staticmethod
    def forward(ctx, rows, sent, received, group, scale):
        ctx.splits, ctx.group, ctx.scale = (received, sent), group, scale
        return _all_to_all(rows, sent, received, group)

    @staticmethod
    def backward(ctx, grad):
        return _all_to_all(grad, *ctx.splits, ctx.group) * ctx.scale, None, None, None, None


def _all_to_all(rows, sent, received, group):
    out = rows.new_empty(sum(received), *rows.shape[1:])
    dist.all_to_all_single(out, rows.contiguous(), received, sent, group=group)
    return out
