"""Parts of a module under dotted paths: transformers' classes nest some of them, as in `gate.wg` or `experts.mlp`."""

from torch import nn


def place(module, path, part):
    """Makes `part`, a module, parameter or buffer, what the path leads to. Returns what holds it, and its name there.

    Modules on the way that do not exist are made, and hold nothing else.
    """
    *before, name = path.split(".")
    for each in before:
        if each not in module._modules:
            module.add_module(each, nn.Module())
        module = getattr(module, each)
    if isinstance(part, nn.Module):
        module.add_module(name, part)
    elif isinstance(part, nn.Parameter):
        module.register_parameter(name, part)
    else:
        module.register_buffer(name, part)
    return module, name


def follow(module, path):
    """What the path leads to."""
    for name in path.split("."):
        module = getattr(module, name)
    return module
