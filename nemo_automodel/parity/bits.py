"""Bit for bit in bf16: dtypes and the order of additions are the reference's."""

from typing import Any

import torch
from torch import nn

from nemo_automodel.parity.batches import Batch
from nemo_automodel.parity.components import measure
from nemo_automodel.parity.counterparts import counterparts
from nemo_automodel.parity.images import features
from nemo_automodel.parity.ours import has_one_order


def other_bits(ours: nn.Module, reference: nn.Module, batch: Batch) -> list[str]:
    """Paths of the components whose outputs differ, each given what the reference's received; both models are in bf16.

    States are summed chunk by chunk, and not as references do: what holds one is left out.
    """
    found: list[str] = []
    for paths in counterparts(ours, reference, batch):
        given, theirs = measure(reference, paths, batch)
        _, mine = measure(ours, paths, batch, given)
        outputs = {path: f"{path}: output" for path in paths if has_one_order(ours.get_submodule(path))}
        found += [path for path, out in outputs.items() if out in theirs and not torch.equal(mine[out], theirs[out])]
    return found


def differing(ours: Any, reference: nn.Module, batch: Batch) -> list[str]:
    """The same, or `logits` where no component by itself differs, and those of a whole model without states do.

    Projectors may differ: ours get rows one after the other where transformers' get pictures, and torch rounds a
    product before it adds the bias where it has four dimensions. Then the tower and the text model are asked alone.
    """
    if batch.images and not same_features(ours, reference, batch):
        return [path for path in other_bits(ours, reference, batch) if is_beside_projector(ours, path)]
    if not has_one_order(ours):
        return other_bits(ours, reference, batch)
    with torch.no_grad():
        mine, theirs = (model(**batch.inputs).logits[batch.real] for model in (ours, reference))
    return [] if torch.equal(mine, theirs) else other_bits(ours, reference, batch) or ["logits"]


def is_beside_projector(ours: Any, path: str) -> bool:
    """Whether a component is of the tower or of the text model."""
    return path.startswith((ours.state_dict_adapter.tower_path, ours.state_dict_adapter.text_path))


def same_features(ours: Any, reference: nn.Module, batch: Batch) -> bool:
    """Whether images of a batch make the same rows."""
    images = {name: batch.images[name] for name in ours.model.image_fields if name in batch.images}
    with torch.no_grad():
        return torch.equal(features(ours, images), features(reference, images))
