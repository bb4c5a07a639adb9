"""Modules at paths: put there with what holds them, and taken away."""

import torch
from torch import nn

from nemo_automodel.components.models.common.nested import follow, place, take


def test_a_path_makes_the_modules_above_it_once():
    module = nn.Module()
    place(module, "attn.q.linear", nn.Linear(2, 3))
    place(module, "attn.k.linear", nn.Linear(2, 3))
    assert [name for name, _ in module.named_modules()][1:] == [
        *("attn", "attn.q", "attn.q.linear", "attn.k", "attn.k.linear")
    ]


def test_numbers_and_parameters_have_paths_too():
    module = nn.Module()
    place(module, "0", nn.Linear(2, 3, bias=False))
    place(module, "gate.2", nn.Parameter(module.get_submodule("0").weight.detach()))
    holder, name = place(module, "gate.bias", torch.zeros(3))
    assert list(module.state_dict()) == ["0.weight", "gate.2", "gate.bias"]
    assert dict(holder.named_buffers())[name] is follow(module, "gate.bias")


def test_what_is_there_is_replaced():
    module = nn.Module()
    place(module, "a.b", nn.Linear(2, 3))
    second = nn.Linear(2, 4)
    place(module, "a.b", second)
    assert module.a.b is second
    assert take(module, "a.b") is second and not module.a._modules
