"""FSDP2 under transformers' Trainer, on CPUs (gloo) and GPUs (nccl) alike.

The Trainer's own FSDP setting becomes plain data parallelism on a CPU, without a word. So PyTorch's `fully_shard` is
applied before the Trainer sees the model, and the Trainer only has to leave it alone and to gather what it saves.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from transformers import PreTrainedModel, Trainer

SCHEDULER_FILE = "scheduler.pt"
OPTIMIZER_FOLDER = "optimizer"


def shard(
    model: PreTrainedModel,
    device_type: str,
    *,
    bf16: bool = False,
    reshard_after_forward: bool = True,
    cpu_offload: bool = False,
) -> None:
    """Shard every layer of text and tower, and what is left at the root, over all ranks, in place.

    Parameters become DTensors. With `bf16` layers compute in bfloat16 and gradients are reduced in float32.
    Modules whose trainable parameters are of another dtype than most of the model (routers in float32) are groups of
    their own, and compute in their own dtype.

    Raises:
        ValueError: the model declares no layers in `_no_split_modules`.
    """
    layer_classes = set(model._no_split_modules or ())
    # From the inside out, since a tower may name a part of itself and layers within that.
    layers = [module for module in reversed([*model.modules()]) if type(module).__name__ in layer_classes]
    if not layers:
        raise ValueError(f"{type(model).__name__}: no layers to shard: _no_split_modules is {layer_classes or 'empty'}")
    policies: dict[str, Any] = {
        "mesh": init_device_mesh(device_type, (torch.distributed.get_world_size(),)),
        "reshard_after_forward": reshard_after_forward,
        "mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy() if cpu_offload else OffloadPolicy(),
    }
    for module in _of_another_dtype(model):
        fully_shard(module, **{**policies, "mp_policy": MixedPrecisionPolicy()})
    for module in [*layers, model]:
        fully_shard(module, **policies)


def _of_another_dtype(model: nn.Module) -> list[nn.Module]:
    """The modules that hold trainable parameters of a dtype that most of the model has not."""
    sizes = Counter[torch.dtype]()
    for parameter in model.parameters():
        sizes[parameter.dtype] += parameter.numel() * parameter.requires_grad
    usual = max(sizes, key=lambda dtype: sizes[dtype])
    return [
        module
        for module in model.modules()
        if any(p.requires_grad and p.dtype != usual for p in module.parameters(recurse=False))
    ]


class ShardedTrainer(Trainer):
    """A Trainer for a model that `shard` has sharded. Saving gathers; every rank must call it.

    Weights are saved in Hugging Face layout, the optimizer's state as a distributed checkpoint. Resuming takes the
    weights from the model that it is given: load it from the checkpoint's folder.
    """

    def __init__(self, model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        # accelerate would wrap it in DistributedDataParallel (CPU) or refuse its DTensors (GPU).
        model._is_accelerate_prepared = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        state = get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        if self.args.should_save:
            self._save(output_dir or self.args.output_dir, state_dict=state)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = {"optimizer": get_optimizer_state_dict(self.model, self.optimizer)}
        dcp.save(state, checkpoint_id=Path(output_dir) / OPTIMIZER_FOLDER)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = {"optimizer": get_optimizer_state_dict(self.model, self.optimizer)}
        dcp.load(state, checkpoint_id=Path(checkpoint) / OPTIMIZER_FOLDER)
        set_optimizer_state_dict(self.model, self.optimizer, state["optimizer"])
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_FILE, weights_only=True))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: the model was loaded from the checkpoint before it was sharded."""
