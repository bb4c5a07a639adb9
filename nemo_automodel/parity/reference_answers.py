"""What a reference answers to the batches on which mutants of its spec are examined, each asked once."""

from collections.abc import Callable, Mapping
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from nemo_automodel.parity import end_to_end, mixtures
from nemo_automodel.parity.batches import SHORT, Batch
from nemo_automodel.parity.draws import drawing_for_dropouts_alone
from nemo_automodel.parity.images import Images
from nemo_automodel.parity.reference import Reference, disk_names, stored_tensors
from nemo_automodel.parity.subject import Subject

SEED = 5


def dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    """By name on disk."""
    return {name: tensor.dtype for name, tensor in disk_names(model, stored_tensors(model)).items()}


class Measured:
    """One variant's reference and its answers."""

    def __init__(
        self,
        subject: Subject,
        values: Mapping[str, Any],
        make: Callable[[Subject, Mapping[str, Any]], Reference] = Reference,
        *,
        short: bool = False,
    ) -> None:
        self.values = values
        self.reference = make(subject, values)
        self.bound = self.reference.bound
        found = self.reference.drawing.batches()
        names = ("short",) if short else ("plain", "short", "left")
        self.batches: dict[str, Batch] = {name: found[name] for name in names if name in found}
        if isinstance(drawing := self.reference.drawing, Images) and isinstance(make, type):
            self.batches |= {name: found[name] for name in ("right", "text")} | self._bare(found["left"])
            self.batches["typed"] = drawing.typed(found["plain"])

    def _bare(self, batch: Batch) -> dict[str, Batch]:
        """Placeholders without images, where the reference makes anything of them."""
        bare = Batch(batch.ids, batch.mask, batch.labels)
        try:
            self._run(self.reference.model, bare)
        except (IndexError, ValueError):
            return {}
        return {"bare": bare}

    def run(self, model: nn.Module, batch: str) -> torch.Tensor:
        return self._run(model, self.batches[batch])

    def _run(self, model: nn.Module, given: Batch) -> torch.Tensor:
        with torch.no_grad():
            return model(**given.inputs, use_cache=False).logits[given.real]

    @cached_property
    def embeds(self) -> torch.Tensor | None:
        """[1, S, H] in place of embeddings, for classes of transformers that take texts alone."""
        if isinstance(self.reference.drawing, Images) or not isinstance(self.reference.model, PreTrainedModel):
            return None
        width = self.reference.model.get_input_embeddings().weight.shape[-1]
        return torch.randn(1, SHORT, width, generator=torch.Generator().manual_seed(SEED))

    def embedded(self, model: nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return model(inputs_embeds=self.embeds.clone(), use_cache=False).logits  # some scale what they are given

    @cached_property
    def logits_of_embeds(self) -> torch.Tensor:
        return self.embedded(self.reference.model)

    def train_loss(self, model: nn.Module) -> torch.Tensor:
        given = self.batches["plain"]
        torch.manual_seed(SEED)
        with torch.no_grad(), drawing_for_dropouts_alone():
            return model(**given.inputs, labels=given.labels, use_cache=False).loss

    @cached_property
    def logits(self) -> dict[str, torch.Tensor]:
        return {name: self.run(self.reference.model, name) for name in self.batches}

    @cached_property
    def balanced_loss(self) -> torch.Tensor | None:
        model = self.reference.model
        return mixtures.balanced_loss(model, self.batches["plain"]) if mixtures.reference_mixtures(model) else None

    @cached_property
    def dtypes(self) -> dict[str, torch.dtype]:
        return dtypes(self.reference.in_bf16)

    @cached_property
    def gradients(self) -> dict[str, torch.Tensor]:
        return end_to_end.measure(self.reference.model, self.batches["plain"])

    @cached_property
    def in_fp64(self) -> Callable[[], dict[str, torch.Tensor]]:
        return cache(partial(end_to_end.truth, self.reference, self.batches["plain"]))

    @cached_property
    def elsewhere(self) -> list[Callable[[], tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]]:
        return [cache(one) for one in end_to_end.elsewhere(self.reference, "plain")]

    @cached_property
    def loss_in_training(self) -> torch.Tensor:
        try:
            return self.train_loss(self.reference.model.train())
        finally:
            self.reference.model.eval()
