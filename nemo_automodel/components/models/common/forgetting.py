"""What keeps no input for the backward pass where the node that it comes from can make it again.

A norm keeps its input, and a projection after it would keep the norm's output, which is one pass over the former. A
node that sets `ctx.again`, a function from the node to its output, is kept in the place of the output; it makes the
output once for all that read it on the way back.
"""

from contextlib import nullcontext

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks


def maker(x):
    """The node that can make x again: x, or what it is a view of in other dimensions, is its first output; or None."""
    node, number = x.grad_fn, x.output_nr
    if node is not None and node.name() == "ViewBackward0":
        node, number = node.next_functions[0]
    return node if hasattr(node, "again") and number == 0 and x.is_contiguous() else None


def opened(node):
    """What a node keeps, for both that read it on the way back, its own and `again`: a checkpoint gives it once."""
    if node.opened is None:
        node.opened = node.saved_tensors
    return node.opened


def made_again(node, shape):
    return node.again(node).reshape(shape)


def forgetting(x, *kinds):
    """A context for the products of x with modules of these classes.

    Where one of them is more than a linear map (adapters, quantised weights), what it keeps is its own; a compiler
    makes again what is cheap by itself. Hooks that stand around this one are not asked for what is kept within: that is
    parameters alone.
    """
    if torch.compiler.is_compiling() or any(kind is not nn.Linear for kind in kinds) or maker(x) is None:
        return nullcontext()
    return saved_tensors_hooks(_Forgets(x), _remembered)


def products(x, *modules, kinds=None):
    """What modules make of x, which none keeps if it can be made again. kinds: their classes where they compute like
    others than their own."""
    with forgetting(x, *(kinds or map(type, modules))):
        return tuple(module(x) for module in modules)


class _Forgets:
    """What is kept in place of a saved tensor: x's node in place of x, all else as it is."""

    def __init__(self, x):
        self.node, self.at, self.size = maker(x), x.data_ptr(), x.numel()

    def __call__(self, saved):
        is_plain = type(saved) is torch.Tensor and saved.is_contiguous()
        is_x = is_plain and saved.data_ptr() == self.at and saved.numel() == self.size
        return (self.node, saved.shape) if is_x else saved


def _remembered(kept):
    return kept if isinstance(kept, torch.Tensor) else made_again(*kept)
