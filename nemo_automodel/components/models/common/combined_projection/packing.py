"""A packed matrix and the linear layers that it stands for, which are there by name and unpack it when they are needed.

Adapters, quantisers and kernels' patches find linear layers by the names of the checkpoint. In a packed model they find
`Part`s; whoever reads the weight of one, or calls it, takes the packed matrix apart.
"""

import torch
from torch import nn
from transformers import initialization as init

from nemo_automodel.components.models.common.forgetting import products
from nemo_automodel.components.models.common.nested import place, take


class PackedLinear(nn.Module):
    """x [..., A] -> [..., B], as a linear layer; not one by its class, as tools that replace those go by its parts.

    linear: the class of linear layers that it computes like.
    """

    def __init__(self, in_features, out_features, bias, linear=nn.Linear):
        super().__init__()
        self.linear = linear
        linear = nn.Linear(in_features, out_features, bias)
        self.register_parameter("weight", linear.weight)
        self.register_parameter("bias", linear.bias)

    def initialize(self, std):
        init.normal_(self.weight, mean=0.0, std=std)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x):
        return self.linear.forward(self, x)


class Part(nn.Linear):
    """A linear layer whose rows lie in a packed matrix of `owner`, until somebody asks: then it is a `linear`."""

    def __init__(self, owner, in_features, out_features, linear=nn.Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.linear = in_features, out_features, linear
        self.owner = (owner,)  # in a tuple: no submodule

    def initialize(self, std):
        """What it stands for is initialised by itself."""

    def __getattr__(self, name):
        if name in ("weight", "bias") and name not in self.__dict__.get("_parameters", {}):
            self.owner[0].unpack()
            return getattr(self, name)  # of a linear layer now
        return super().__getattr__(name)

    def forward(self, x):
        """Unpacks. Raises RuntimeError in training: an optimizer would go on with the packed matrix, which is gone."""
        if self.training and torch.is_grad_enabled():
            raise RuntimeError(
                "a projection is called by its own name while the model trains packed: what replaced the forward of "
                "its module (use_liger_kernel does) needs backend.projections 'split', or split_projections() before "
                "the optimizer is made"
            )
        return self.linear.forward(self, x)

    def become_linear(self, weight, bias):
        self.__class__ = self.linear
        del self.owner, self.linear
        self.register_parameter("weight", weight)
        self.register_parameter("bias", bias)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, packed"


class PackingMixin:
    """A module that may hold one packed matrix in the place of several linear layers."""

    packed = was_packed = False
    _packing = None  # name of the packed matrix, its rule, names of the parts

    def setup_packing(self, name, rule, in_features, rows, bias, linear=nn.Linear):
        """Makes the packed matrix, and a part for each entry of `rows` {name: number of rows}, as the rule has them."""
        place(self, name, PackedLinear(in_features, sum(rows.values()), bias, linear))
        for part, count in rows.items():
            place(self, part, Part(self, in_features, count, linear))
        self.packed, self._packing = True, (name, rule, tuple(rows))

    def packed_product(self, x):
        """What the packed matrix makes of x. Raises RuntimeError where one of its parts was replaced unseen."""
        name, _, parts = self._packing
        for part in parts:
            if type(self.get_submodule(part)) is not Part:
                kind = type(self.get_submodule(part)).__name__
                raise RuntimeError(
                    f"{part} was replaced by a {kind}, which the packed {name} would bypass: build the model with "
                    "backend.projections 'split', or call split_projections() before"
                )
        return self.products(x, name)[0]

    def products(self, x, *names):
        """What the modules of these names make of x."""
        modules = [self.get_submodule(name) for name in names]
        kinds = [one.linear if type(one) is PackedLinear else type(one) for one in modules]
        return products(x, *modules, kinds=kinds)

    @torch.no_grad()
    def unpack(self):
        """Takes the packed matrix apart, in place; its parts are linear layers then."""
        name, rule, parts = self._packing
        packed = take(self, name)
        pieces = [_pieces(rule, tensor, len(parts)) for tensor in (packed.weight, packed.bias)]
        for part, weight, bias in zip(parts, *pieces, strict=True):
            self.get_submodule(part).become_linear(weight, bias)
        self.packed, self.was_packed, self._packing = False, True, None
        self.unpacked()

    def unpacked(self):
        """Called once the parts are linear layers."""


def _pieces(rule, tensor, count):
    if tensor is None:
        return [None] * count
    return [nn.Parameter(piece.clone(), tensor.requires_grad) for (piece,) in rule.save(tensor)]
