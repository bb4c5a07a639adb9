"""Tensors that stay fp32 whatever dtype the model has."""


def keeping(fn, pinned):
    """`fn` of tensors, as nn.Module applies it, but that some keep their dtype."""

    def keep(tensor):
        moved = fn(tensor)
        if moved.dtype != tensor.dtype and any(tensor is each for each in pinned):
            return tensor.to(moved.device)
        return moved

    return keep


def names_of(module, pinned):
    """Names in a module of the tensors that are pinned."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in tensors if any(tensor is each for each in pinned)]
