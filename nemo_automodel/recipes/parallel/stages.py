"""Pipeline parallelism: each process holds some layers, and micro-batches travel through them (PyTorch's pipelining).

The plan in the model (`pp_plan`) says which parts stand before the layers and which behind them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from transformers import PreTrainedModel

from nemo_automodel.components.models.common.nested import place

OF_LABELS = ("labels", "shift_labels")


class Elsewhere(nn.Module):
    """In place of a part that another process holds: x passes as it is, and layers keep their numbers."""

    def __init__(self, part: Any = None) -> None:
        super().__init__()
        self.mask_kind, self.rope_kind = getattr(part, "mask_kind", None), getattr(part, "rope_kind", None)

    def forward(self, x: Tensor, **context: Any) -> Tensor:
        return x


def layers_of(stage: int, stages: int, layers: int) -> range:
    """The layers of a stage; the first ones have one more where they do not divide."""
    each, left = divmod(layers, stages)
    start = stage * each + min(stage, left)
    return range(start, start + each + (stage < left))


def keep_stage(model: PreTrainedModel, stage: int, stages: int) -> None:
    """Drop what other stages hold, in place."""
    base = model.base_model
    base.is_first, base.is_last = stage == 0, stage == stages - 1
    mine = layers_of(stage, stages, len(base.decoder_layers))
    for index in range(len(base.decoder_layers)):
        if index not in mine:
            base.decoder_layers[index] = Elsewhere(base.decoder_layers[index])
    before, behind = around_layers(model)
    for name in (*(() if base.is_first else before), *(() if base.is_last else behind)):
        place(model, name, Elsewhere())


def around_layers(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """Modules before and behind the layers, by the order of the base model's plan; the head is behind."""
    base, prefix = model.base_model, f"{model.base_model_prefix}."
    parts = [name for name in base._pp_plan if hasattr(base, name)]
    at = parts.index(base._layers_name)
    head = model._output_embed_layer
    return [prefix + name for name in parts[:at]], [*(prefix + name for name in parts[at + 1 :]), head]


class Stage(nn.Module):
    """x -> what the next stage takes, hidden states [B, S, H]; of the last one the loss [1].

    The first takes ids [B, S]. `items` divides the sum of the losses, and `scale` multiplies it.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model, self.items, self.scale = model, None, 1.0

    def forward(self, x: Tensor, **inputs: Any) -> Tensor:
        base = self.model.base_model
        given = {("input_ids" if base.is_first else "inputs_embeds"): x, "use_cache": False, **inputs}
        if not base.is_last:
            return base(**given).last_hidden_state
        loss = self.model(**given, num_items_in_batch=self.items).loss
        return torch.stack([loss * self.scale])


class Pipeline:
    """Runs batches through the stages: `step` trains, `evaluate` does not. Both give the loss to every stage."""

    def __init__(self, stage: Stage, mesh: DeviceMesh, device: torch.device, dtype: torch.dtype) -> None:
        self.stage, self.mesh, self.device, self.dtype = stage, mesh, device, dtype
        self.index, self.count = mesh.get_local_rank(), mesh.size()
        self._schedules: dict[tuple[int, ...], Any] = {}

    def step(self, inputs: dict[str, Any], items: Any, scale: float) -> Tensor:
        """One forward and backward pass of a batch; `items` is the number of labels of the whole step."""
        self.stage.items, self.stage.scale = items, scale
        return self._run("step", inputs)

    def evaluate(self, inputs: dict[str, Any], items: Any) -> Tensor:
        """The sum of the losses of a batch, over `items`."""
        self.stage.items, self.stage.scale = items, 1.0
        return self._run("eval", inputs)

    def _run(self, how: str, inputs: dict[str, Any]) -> Tensor:
        ids, labels = inputs["input_ids"], inputs["labels"]
        last = self.index == self.count - 1
        unread = ("input_ids",) if last else ("input_ids", *OF_LABELS)
        given = {name: value for name, value in inputs.items() if name not in unread}
        losses: list[Tensor] = []
        taken = (ids,) if self.index == 0 else ()
        getattr(self._schedule(ids), how)(*taken, target=labels, losses=losses, return_outputs=False, **given)
        total = torch.stack(losses).sum().detach() if losses else torch.zeros((), device=self.device)
        torch.distributed.all_reduce(total, group=self.mesh.get_group())
        return total

    def _schedule(self, ids: Tensor) -> Any:
        """Micro-batches of one text each; shapes are said beforehand, one schedule for each of them."""
        rows, length = ids.shape
        if (rows, length) not in self._schedules:
            schedule = Schedule1F1B if rows >= self.count else ScheduleGPipe
            self._schedules[rows, length] = schedule(self._made(length), rows, loss_fn=_loss, scale_grads=False)
        return self._schedules[rows, length]

    def _made(self, length: int) -> PipelineStage:
        width = self.stage.model.config.get_text_config().hidden_size
        hidden = torch.empty(1, length, width, dtype=self.dtype, device="meta", requires_grad=True)
        ids = torch.empty(1, length, dtype=torch.long, device="meta")
        loss = torch.empty(1, dtype=torch.float32, device="meta", requires_grad=True)
        first, last = self.index == 0, self.index == self.count - 1
        return PipelineStage(
            self.stage,
            self.index,
            self.count,
            self.device,
            input_args=ids if first else hidden,
            output_args=loss if last else hidden,
            group=self.mesh.get_group(),
        )


def _loss(loss: Tensor, target: Tensor) -> Tensor:
    return loss.squeeze(0)
