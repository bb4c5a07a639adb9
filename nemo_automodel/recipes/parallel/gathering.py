"""What is cut, spread and sharded, as one: the tensors that a checkpoint of the hub holds."""

from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from nemo_automodel.recipes.parallel.meshes import Meshes


def whole_state(model: PreTrainedModel, meshes: Meshes) -> dict[str, Tensor]:
    """Every tensor of the model by its name in memory, on the first process; on others those of their stage, or none.

    Every process must call it.
    """
    keeps = dist.get_rank(meshes.stage) == 0
    gathered = ((name, whole(tensor)) for name, tensor in model.state_dict().items())
    state = {name: tensor.cpu() for name, tensor in gathered if keeps}
    if meshes.sizes.pp == 1 or not keeps:
        return state
    pieces: list[Any] | None = [None] * meshes.sizes.pp if dist.get_rank() == 0 else None
    dist.gather_object(state, pieces, group=meshes["pp"].get_group(), group_dst=0)
    return state if pieces is None else {name: tensor for piece in pieces for name, tensor in piece.items()}


def whole(tensor: Tensor) -> Tensor:
    """Itself, or what the shards of a DTensor are together."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
