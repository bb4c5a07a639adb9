"""Tensors that published checkpoints hold and the reference leaves out on purpose: buffers of masks, drafts' layers."""

import re

import torch
from torch import nn

from nemo_automodel.components.models.common.checkpoint.survey import is_ignored, why_unused
from nemo_automodel.components.models.common.vision.adapter import ImageTextStateDictAdapter
from nemo_automodel.parity.reference import Reference


def left_out(reference: Reference) -> list[str]:
    """Names on disk that the reference class ignores without a word: in the first layer, where it names none."""
    patterns = getattr(reference.model, "_keys_to_ignore_on_load_unexpected", None) or ()
    numbered = (re.match(r".*?\.\d+\.", name) for name in reference.disk)
    layer = next(match[0] for match in numbered if match)
    names = [layer + pattern for pattern in patterns if re.fullmatch(r"[\w.]+", pattern)]
    parents = {name.rpartition(".")[0].rpartition(".")[0] for name in reference.disk}
    inside = [name for name in names if name.rpartition(".")[0] in parents]
    return [*inside, *(_in_text(reference, example) for pattern in patterns if (example := _example(pattern)))]


def _in_text(reference: Reference, name: str) -> str:
    """A name below the text model, as the checkpoint of a model around it has it; its own otherwise."""
    adapter = reference.outline.state_dict_adapter
    if not isinstance(adapter, ImageTextStateDictAdapter) or not name.startswith("model."):
        return name
    inside = f"{adapter.text_path}.{name.removeprefix('model.')}"
    return str(adapter.convert_single_tensor_to_hf(inside, torch.empty(0))[0][0])


def _example(pattern: str) -> str | None:
    """A whole name that a pattern with a wildcard or a dot at its end matches; None for other patterns."""
    start = pattern.removesuffix(".*").removesuffix(r"\.").removeprefix("^").removeprefix(r"(^|\.)")
    name = start.replace(r"\.", ".") + ".weight"
    known = pattern.endswith((".*", r"\.")) and re.fullmatch(r"[\w.]+", name) and re.search(pattern, name)
    return name if known else None


def not_left_out(model: nn.Module, reference: Reference) -> list[str]:
    """Those of them that our class would refuse: it knows reasons by names in memory."""
    named = {name: _memory_name(model, name) for name in left_out(reference)}
    return [name for name, memory in named.items() if not (why_unused(model, memory) or is_ignored(model, memory))]


def _memory_name(model: nn.Module, name: str) -> str:
    return next(iter(model.state_dict_adapter.sources({name: torch.empty(0)})))
