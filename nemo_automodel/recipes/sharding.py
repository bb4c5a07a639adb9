"""FSDP2 under transformers' Trainer, on CPUs (gloo) and GPUs (nccl) alike.

The Trainer's own FSDP setting becomes plain data parallelism on a CPU, without a word. So PyTorch's `fully_shard` is
applied before the Trainer sees the model, and the Trainer only has to leave it alone and to gather what it saves.
"""

from collections import Counter
from collections.abc import Mapping
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
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from transformers import PreTrainedModel, Trainer

from nemo_automodel.recipes.resuming import OPTIMIZER_FOLDER

BY_NAME = StateDictOptions(flatten_optimizer_state_dict=True)  # of parameters: loads at any number of processes
SCHEDULER_FILE = "scheduler.pt"


def shard(
    model: PreTrainedModel,
    device_type: str,
    *,
    bf16: bool = False,
    reshard_after_forward: bool = True,
    cpu_offload: bool = False,
    mesh: DeviceMesh | None = None,
    apart: Mapping[nn.Module, DeviceMesh] | None = None,
    root: nn.Module | None = None,
) -> None:
    """Shard every layer of text and tower, and what is left at the root, over a mesh (None: all ranks), in place.

    apart: modules that are sharded over a mesh of their own. root: what holds the model, where that is called in its
    place. Parameters become DTensors. With `bf16` layers compute in bfloat16 and gradients are reduced in float32.
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
        "mesh": mesh or init_device_mesh(device_type, (torch.distributed.get_world_size(),)),
        "reshard_after_forward": reshard_after_forward,
        "mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy() if cpu_offload else OffloadPolicy(),
    }
    for module in _of_another_dtype(model):
        fully_shard(module, **{**policies, "mp_policy": MixedPrecisionPolicy()})
    for module, own in (apart or {}).items():
        fully_shard(module, **{**policies, "mesh": own})
    for module in [*layers, root or model]:
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

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Without groups that hold nothing (adapters have no norms): a state that is kept by names knows none."""
        optimizer = super().create_optimizer(*args, **kwargs)
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        return optimizer

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Gradients are reduced, and parameters sharded again after a backward pass, with the last batch of a step,
        unless `sync_each_batch` is said: until then each process keeps whole ones. The Trainer reduces so too, by a
        wrapper of the model, and here is none."""
        state = self.accelerator.gradient_state
        reduces = state.sync_gradients or state.plugin_kwargs.get("sync_each_batch", False)
        model.set_requires_gradient_sync(reduces)
        model.set_reshard_after_backward(reduces)
        return super().training_step(model, *args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        state = self._whole_state()
        if self.args.should_save:
            self._save(output_dir or self.args.output_dir, state_dict=state)

    def _whole_state(self) -> dict[str, Any]:
        """Every tensor of the model, on the first process."""
        return get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = {"optimizer": get_optimizer_state_dict(self.model, self.optimizer, options=BY_NAME)}
        dcp.save(state, checkpoint_id=Path(output_dir) / OPTIMIZER_FOLDER)
        if self.args.should_save:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint) / OPTIMIZER_FOLDER
        options = BY_NAME if _is_by_name(folder) else StateDictOptions()
        state = {"optimizer": get_optimizer_state_dict(self.model, self.optimizer, options=options)}
        dcp.load(state, checkpoint_id=folder)
        set_optimizer_state_dict(self.model, self.optimizer, state["optimizer"], options=options)
        self._load_scheduler(torch.load(Path(checkpoint) / SCHEDULER_FILE, weights_only=True))

    def _load_scheduler(self, saved: dict[str, Any]) -> None:
        """All groups of parameters have one rate, and how many there are goes by the meshes."""
        own = self.lr_scheduler.state_dict()
        if "base_lrs" in own:
            kept = {name: own[name] for name in ("base_lrs", "lr_lambdas") if name in own}
            saved = {**saved, **kept, "_last_lr": saved["_last_lr"][:1] * len(own["base_lrs"])}
        self.lr_scheduler.load_state_dict(saved)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: the model was loaded from the checkpoint before it was sharded."""


def _is_by_name(folder: Path) -> bool:
    """Whether the state of an optimizer is kept by names, as it is since runs may be parallel."""
    saved = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    return not any(key.startswith("optimizer.param_groups.0.") for key in saved)
