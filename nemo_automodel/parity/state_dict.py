"""Level 1: the adapter takes what lies on disk and gives back exactly that."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from nemo_automodel.parity.compare import Check, exact

LEVEL = "state dict"


def compare(ours: PreTrainedModel, disk: Mapping[str, torch.Tensor]) -> list[Check]:
    """`ours` holds the tensors of `disk`, a checkpoint of the reference."""
    adapter = ours.state_dict_adapter
    memory = adapter.from_hf(dict(disk))
    held = {name: tensor for name, tensor in ours.state_dict().items() if name not in ours.all_tied_weights_keys}
    pairs = [pair for name, tensor in memory.items() for pair in adapter.convert_single_tensor_to_hf(name, tensor)]
    single = {name: joined([tensor for other, tensor in pairs if other == name]) for name, _ in pairs}
    with TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        saved = read(Path(folder))
    return [
        exact(LEVEL, "from_hf gives the tensors in memory", differences(memory, held)),
        exact(LEVEL, "to_hf gives back the disk", differences(adapter.to_hf(memory), disk)),
        exact(LEVEL, "single tensors convert alike", differences(single, disk)),
        exact(LEVEL, "save_pretrained writes the names on disk", differences(saved, disk)),
    ]


def joined(blocks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Several tensors in memory may be the rows of one on disk."""
    return blocks[0] if len(blocks) == 1 else torch.cat([*blocks])


def read(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint's safetensors files."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def differences(ours: Mapping[str, torch.Tensor], disk: Mapping[str, torch.Tensor]) -> list[str]:
    """What differs, by name: presence, shape, dtype, values."""
    problems = [f"{name} is missing" for name in disk if name not in ours]
    problems += [f"{name} is too much" for name in ours if name not in disk]
    for name in disk.keys() & ours.keys():
        mine, theirs = ours[name], disk[name]
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
            problems.append(f"{name}: {mine.dtype} {tuple(mine.shape)} instead of {theirs.dtype} {tuple(theirs.shape)}")
        elif not torch.equal(mine, theirs):
            problems.append(f"{name}: other values")
    return problems
