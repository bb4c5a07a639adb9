"""Buffers that a reference writes into its checkpoints although it derives them, and that our class leaves out."""

from typing import Any

import torch
from torch import nn

from nemo_automodel.components.models.common.checkpoint.survey import is_ignored


def leave_out_derived(reference: nn.Module, config: Any, model_class: Any) -> set[str]:
    """Keeps them out of the reference's state dict, in place; their names. It derives them anew when it is loaded."""
    stored = {name for name, _ in reference.named_buffers()} & reference.state_dict().keys()
    if not stored:
        return set()
    with torch.device("meta"):
        ours = model_class._from_config(config)
    derived = {name for name in stored if is_ignored(ours, name)}
    for name in derived:
        path, _, buffer = name.rpartition(".")
        reference.get_submodule(path)._non_persistent_buffers_set.add(buffer)
    return derived
