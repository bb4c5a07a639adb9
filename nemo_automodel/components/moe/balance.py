"""How evenly experts are used: the auxiliary loss, the update of correction biases, and metrics."""

import torch
import torch.distributed as dist
from transformers import TrainerCallback

from nemo_automodel.components.moe.router import Router


def load_balancing_loss(router_logits, top_k, attention_mask=None):
    """E times the sum over experts of (choices per token) * (mean probability), over the tokens of all layers.

    router_logits: one [B * S, E] a layer; attention_mask [B, S], 0 at padding. A scalar in fp32, k when balanced
    (Switch Transformer, arXiv 2101.03961, equations 4 to 6; transformers' Mixtral).
    """
    choices = probability = tokens = 0.0
    mask = None if attention_mask is None else attention_mask.reshape(-1, 1)
    for logits in router_logits:
        probabilities = torch.softmax(logits, dim=-1)
        chosen = torch.zeros_like(probabilities, dtype=torch.float32)
        chosen.scatter_(1, probabilities.topk(top_k, dim=-1).indices, 1.0)
        seen = torch.ones_like(chosen[:, :1]) if mask is None else mask.to(chosen)
        choices = choices + (chosen * seen).sum(0)
        probability = probability + (probabilities.float() * seen).sum(0)
        tokens = tokens + seen.sum()
    return (choices / tokens * (probability / tokens)).sum() * router_logits[0].shape[-1]


def routers(model):
    """{name: router} of all layers."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Router)}


@torch.no_grad()
def update_moe_gate_bias(model, group=None):
    """Moves each correction bias by its router's `gate_bias_update_factor`, against the sign of its load's error.

    Loads are summed over the processes of `group` (None: all) and start anew (DeepSeek-V3, arXiv 2412.19437, 2.1.2).
    Call it once an optimiser step; routers without a bias or without a factor are left alone. Returns the loads [E] of
    all routers that counted some.
    """
    loads = summed_loads(model, group)
    for router, load in loads:
        router.load = None
        factor, bias = router.config.gate_bias_update_factor, router.correction_bias
        if factor and bias is not None:
            bias += factor * torch.sign(load.mean() - load)
    return [load for _, load in loads]


def summed_loads(model, group=None):
    """[(router, choices of each expert [E] since the last update, over all processes)]; routers that counted none are
    left out."""
    counted = [router for router in routers(model).values() if router.load is not None]
    if not counted:
        return []
    loads = torch.cat([router.load for router in counted])  # so that processes exchange once, not once a layer
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(loads, group=group)
    return list(zip(counted, loads.split([router.num_experts for router in counted]), strict=True))


def load_metrics(model, group=None):
    """`metrics_of` the choices since the last update."""
    return metrics_of([load for _, load in summed_loads(model, group)])


def metrics_of(loads):
    """{metric: number} of the loads [E] of some layers; {} of none.

    moe/max_load: the most loaded expert's share, in shares of a balanced one (1 is perfect), the mean over layers and
    the worst of them (`moe/worst_load`); moe/idle: the share of experts without any token.
    """
    if not loads:
        return {}
    peaks = [(load.max() / load.mean().clamp(min=1e-9)).item() for load in loads]
    idle = [(load == 0).float().mean().item() for load in loads]
    count = len(loads)
    return {"moe/max_load": sum(peaks) / count, "moe/worst_load": max(peaks), "moe/idle": sum(idle) / count}


class MoEBalanceCallback(TrainerCallback):
    """For transformers' Trainer: updates correction biases after each optimiser step, and logs the load before it.

    group: the processes whose model has the same routers; None: all.
    """

    def __init__(self, group=None):
        self.loads, self.group = [], group

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.loads = update_moe_gate_bias(model, self.group)

    def on_log(self, args, state, control, logs=None, **kwargs):
        metrics = metrics_of(self.loads)
        for entry in (logs, state.log_history[-1] if state.log_history else None):  # written down before this call
            if entry is not None:
                entry.update(metrics)
