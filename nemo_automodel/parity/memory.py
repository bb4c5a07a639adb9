"""Names in memory: adapters, plans and state dicts address modules and parameters by those of the reference's class."""

from collections.abc import Mapping

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from nemo_automodel.components.models.common.checkpoint.survey import is_ignored
from nemo_automodel.components.models.common.releases import RENAMED_IN_5_18
from nemo_automodel.components.moe.router import RouterLinear
from nemo_automodel.parity.compare import Check, exact
from nemo_automodel.parity.state_dict import differences

LEVEL = "memory"


def compare(reference: nn.Module, ours: nn.Module) -> list[Check]:
    """Both hold the same weights; `ours` on the split backend."""
    held = {renamed(name): tensor for name, tensor in _as_linear(reference).items()}
    mine = names(ours)
    theirs = {name: tensor for name, tensor in held.items() if name in mine or not is_ignored(ours, name)}
    checks = [exact(LEVEL, "tensors in memory are the reference's", differences(ours.state_dict(), theirs))]
    if not is_older(reference):
        owners = {name.rpartition(".")[0] for name in theirs}  # but those of which our class leaves all tensors out
        held_by = {name: kind for name, kind in modules(reference).items() if name in owners}
        checks.append(exact(LEVEL, "modules are the reference's", _changes(modules(ours), held_by)))
    return checks


def names(model: nn.Module) -> set[str]:
    """Of its tensors, as the newest transformers has them."""
    return {renamed(name) for name in model.state_dict()}


def _as_linear(model: nn.Module) -> dict[str, torch.Tensor]:
    """Its state dict; matrices of GPT-2's Conv1D as of the linear layers that ours are, which adapters fit alike."""
    turned = {f"{path}.weight" for path, module in model.named_modules() if isinstance(module, Conv1D)}
    return {name: tensor.t() if name in turned else tensor for name, tensor in model.state_dict().items()}


def renamed(name: str) -> str:
    """A name of an older transformers as newer ones have it."""
    for older, newer in RENAMED_IN_5_18.items():
        if f".{name}".endswith(f".{older}"):
            return name.removesuffix(older) + newer
    return name


def is_older(model: nn.Module) -> bool:
    """Whether it is of a class that newer releases of transformers have under other names, with other modules."""
    return any(renamed(name) != name for name in model.state_dict())


def modules(model: nn.Module) -> dict[str, str]:
    """The modules with tensors of their own, and what adapters see in them."""
    owners = {name.rpartition(".")[0] for name in model.state_dict()}
    return {name: _kind(module) for name, module in model.named_modules() if name in owners}


def _kind(module: nn.Module) -> str:
    """Adapters wrap linear layers that give one tensor; of other modules they ask how stacked parameters lie."""
    if type(module).forward in (Conv1D.forward, RouterLinear.forward) or gives_one_tensor(module):
        return "linear"
    return "transposed" if getattr(module, "is_transposed", False) else "parameters"


def gives_one_tensor(module: nn.Module) -> bool:
    """Whether it is a linear layer, of a class of its own or not, and no router, which gives several."""
    if not isinstance(module, nn.Linear) or type(module).forward is nn.Linear.forward:
        return isinstance(module, nn.Linear)
    with torch.no_grad():
        return isinstance(module(module.weight.new_zeros(1, module.in_features)), torch.Tensor)


def _changes(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    others = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    return [f"{name} is {ours.get(name, 'missing')}, not {theirs.get(name, 'there')}" for name in others]
