"""transformers' Trainer over a model that is parallel along several axes."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from transformers import PreTrainedModel

from nemo_automodel.recipes.parallel.gathering import whole, whole_state
from nemo_automodel.recipes.parallel.meshes import Meshes
from nemo_automodel.recipes.parallel.sequences import IGNORED, piece
from nemo_automodel.recipes.parallel.stages import Pipeline, Stage
from nemo_automodel.recipes.sharding import ShardedTrainer


class ParallelTrainer(ShardedTrainer):
    """A Trainer for a model that `parallelize` was given, and what that returned (`root`).

    Losses are sums over the labels of a whole step: each process adds its share. Checkpoints are as of ShardedTrainer,
    and load at any other shape.
    """

    def __init__(self, model: PreTrainedModel, *args: Any, meshes: Meshes, root: nn.Module, **kwargs: Any) -> None:
        self.meshes, self.sizes, self.pipeline = meshes, meshes.sizes, None
        super().__init__(model, *args, **kwargs)
        self.accelerator.state.device_mesh = meshes.loading  # by which data loaders tell who shares a batch
        self._gather_all, self.accelerator.gather = self.accelerator.gather, self._gathered
        if isinstance(root, Stage):
            dtype = torch.bfloat16 if self.args.bf16 else model.dtype
            self.pipeline = Pipeline(root, meshes["pp"], self.args.device, dtype)

    def _gathered(self, tensor: Tensor) -> Tensor:
        """What processes have, in place of accelerate's: once for each batch, and not for each that shares it."""
        everything = self._gather_all(tensor).unflatten(0, (self.sizes.batches, self.sizes.sharing, -1))
        return everything[:, 0].flatten()

    def get_tp_size(self) -> int:
        """As the Trainer counts: how many processes share a batch."""
        return self.sizes.sharing

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """With parameters of one mesh in each group, as optimizers that take them at once need (`foreach`, `fused`);
        releases of transformers before 5.24 do not divide them."""
        optimizer = super().create_optimizer(*args, **kwargs)
        optimizer.param_groups[:] = [
            {**group, "params": parameters}
            for group in optimizer.param_groups
            for parameters in _by_mesh(group["params"], lambda parameter: parameter)
        ]
        return optimizer

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        if not batch_samples:
            return None
        count = torch.stack([_counted(batch) for batch in batch_samples]).sum()
        return self.accelerator.gather(count.to(device)).sum()

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """The loss of a batch, by the Trainer's own step or through the pipeline."""
        if self.pipeline is None:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._cut(self._prepare_inputs(inputs))
        return self.pipeline.step(inputs, num_items_in_batch, self._scale)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """This process's share of a step's loss, so that the mean over all processes is the loss."""
        outputs = model(**self._cut(inputs), num_items_in_batch=num_items_in_batch)
        loss = outputs.loss * self._scale
        return (loss, outputs) if return_outputs else loss

    @property
    def _scale(self) -> int:
        """Over how many processes FSDP2 takes the mean of gradients."""
        return self.sizes.batches * self.sizes.cp

    def _cut(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return piece(inputs, self.meshes["cp"]) if self.sizes.cp > 1 else inputs

    @torch.no_grad()
    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """The mean loss of a batch, equal on all processes that share it."""
        inputs = self._prepare_inputs(inputs)
        items, cut = _counted(inputs), self._cut(inputs)
        if self.pipeline is not None:
            loss = self.pipeline.evaluate(cut, items)
        else:
            loss = model(**cut, num_items_in_batch=items).loss.detach()
        if self.sizes.cp > 1:
            dist.all_reduce(loss, group=self.meshes["cp"].get_group())
        return loss, None, None

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        return self._norm(model, self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return self._norm(model, None) if grad_norm is None else grad_norm

    def _norm(self, model: nn.Module, bound: float | None) -> Tensor:
        """The norm of all gradients, those of other stages too; with a bound they are scaled to it, in place."""
        with_gradient = [parameter for parameter in model.parameters() if parameter.grad is not None]
        groups = _by_mesh(with_gradient, lambda parameter: parameter.grad)
        norms = [get_total_norm([parameter.grad for parameter in group]) for group in groups]
        square = torch.stack([whole(norm) ** 2 for norm in norms]).sum()
        if self.sizes.pp > 1:
            dist.all_reduce(square, group=self.meshes["pp"].get_group())
        for group in groups if bound is not None else ():
            clip_grads_with_norm_(group, bound, square.sqrt())
        return square.sqrt()

    def _whole_state(self) -> dict[str, Tensor]:
        return whole_state(self.model, self.meshes)


def _counted(inputs: dict[str, Any]) -> Tensor:
    """How many labels of a batch have a loss."""
    return inputs["labels"][..., 1:].ne(IGNORED).sum()


def _by_mesh(parameters: list[nn.Parameter], lies: Callable[[nn.Parameter], Any]) -> list[list[nn.Parameter]]:
    """The parameters in lists, by the mesh that a tensor of theirs lies on."""
    groups: dict[Any, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        groups[getattr(lies(parameter), "device_mesh", None)].append(parameter)
    return list(groups.values())
