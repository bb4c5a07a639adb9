"""Modules within modules: what checkpoints store at `o_proj.linear` or `gate.wg` lies there in memory too."""

from torch import nn


def place(module, path, part):
    """Makes `part`, a module, parameter or buffer, what the path leads to. Returns what holds it, and its name there.

    Modules on the way that do not exist are made, and hold nothing else.
    """
    *above, name = path.split(".")
    for one in above:
        if one not in module._modules:
            module.add_module(one, nn.Module())
        module = module._modules[one]
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


def take(module, path):
    """Takes a module away from below another, and returns it."""
    above, _, name = path.rpartition(".")
    return module.get_submodule(above)._modules.pop(name)
