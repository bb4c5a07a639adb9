"""What a reference writes into its checkpoints and our class leaves out: derived buffers, and modules of no use."""

from typing import Any

from torch import nn

from nemo_automodel.components.models.common.checkpoint.survey import is_ignored


def leave_out_derived(reference: nn.Module, ours: Any) -> set[str]:
    """Keeps them out of the reference's state dict, in place; their names. It derives them anew when it is loaded."""
    without = take_unused(reference, ours)
    stored = {name for name, _ in reference.named_buffers()} & reference.state_dict().keys()
    derived = {name for name in stored if is_ignored(ours, name)}
    for name in derived:
        path, _, buffer = name.rpartition(".")
        reference.get_submodule(path)._non_persistent_buffers_set.add(buffer)
    return derived | without


def take_unused(reference: nn.Module, ours: Any) -> set[str]:
    """Takes modules out of which our class leaves every tensor on disk; the names of these."""
    ignored = {name for name, _ in reference.named_parameters() if is_ignored(ours, name)}
    held = {path: {f"{path}.{name}" for name in one.state_dict()} for path, one in reference.named_modules()}
    unused = {path for path, names in held.items() if names and names <= ignored}
    for path in unused:
        above, _, name = path.rpartition(".")
        if above not in unused:
            setattr(reference.get_submodule(above), name, nn.Module())
    return ignored
