"""Activation functions by the names that configs use."""

import torch
from torch import nn
from transformers.activations import ACT2FN, XIELUActivation


class BloomGELU(nn.Module):
    """GELU's tanh form with Bloom's rounded constant and order of operations; any shape and float dtype."""

    def forward(self, x):
        return x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))


class _Activations:
    """`ACT[name]` makes the module of a name; an unknown name raises KeyError with the known ones."""

    own = {"gelu_bloom": BloomGELU}

    def __getitem__(self, name):
        if name == "xielu":  # has parameters, which would be bfloat16 whatever the model is (Apertus)
            return XIELUActivation(dtype=torch.get_default_dtype())
        return self.own[name]() if name in self.own else ACT2FN[name]

    def __contains__(self, name):
        return name in self.own or name in ACT2FN


ACT = _Activations()
