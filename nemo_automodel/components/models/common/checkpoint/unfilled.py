"""Building a model on the meta device without the fills of its constructors, which there reach no memory."""

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers.initialization import TORCH_INIT_FUNCTIONS

METHODS = ("fill_", "normal_", "uniform_", "zero_")
FILLS = frozenset(
    [
        *(getattr(nn.init, name) for name in TORCH_INIT_FUNCTIONS),
        *(getattr(torch.Tensor, name) for name in METHODS),
    ]
)


class Unfilled(TorchFunctionMode):
    """Within, fills of tensors on the meta device do nothing; all other tensors are filled as ever."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in FILLS:
            tensor = args[0] if args else kwargs.get("tensor")
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
