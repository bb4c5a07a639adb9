"""Modules within modules: what checkpoints store at `o_proj.linear` lies there in memory too."""

from torch import nn


def place(module, path, made):
    """Puts a module or parameter at a dotted path below another; plain modules hold it where nothing else does."""
    *above, name = path.split(".")
    for one in above:
        if one not in module._modules:
            module.add_module(one, nn.Module())
        module = module._modules[one]
    setattr(module, name, made)


def take(module, path):
    """Takes a module away from below another, and returns it."""
    above, _, name = path.rpartition(".")
    return module.get_submodule(above)._modules.pop(name)
