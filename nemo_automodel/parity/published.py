"""Whether names on disk are the published ones, where the reference does not write these itself.

transformers reads published names by a list of renamings and conversions, and takes names in memory too. So a name is
the published one if none of the list waits for another.
"""

from collections.abc import Iterable, Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    WeightTransform,
    dot_natural_key,
    rename_source_key,
)


def waited_for(reference: nn.Module, disk: Iterable[str]) -> list[str]:
    """What the class of the reference reads otherwise than these names, of tensors that are among them."""
    if not isinstance(reference, PreTrainedModel):
        return []
    entries = get_model_conversion_mapping(reference, add_legacy=False)
    back = [entry.reverse_transform() for entry in reversed(entries)]
    _pass_through(entries, disk)
    _pass_through(back, set(reference.state_dict()) - set(reference.all_tied_weights_keys), reverse=True)
    used = {_words(entry) for entry in entries if entry.was_used()}
    needed = [entry for entry, other in zip(entries, reversed(back), strict=True) if other.was_used()]
    return sorted({_words(entry) for entry in needed} - used)


def _pass_through(entries: Sequence[WeightTransform], names: Iterable[str], **options: bool) -> None:
    """Has each entry remember whether it renames any of these."""
    renamings = [entry for entry in entries if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in entries if isinstance(entry, WeightConverter)]
    for name in sorted(names, key=dot_natural_key):
        rename_source_key(name, renamings, converters, **options)


def _words(entry: WeightTransform) -> str:
    """What it reads; the text model's own entries are there a second time."""
    return " | ".join(entry.source_patterns)
