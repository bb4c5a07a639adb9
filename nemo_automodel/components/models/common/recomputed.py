"""The product of an MLP in front of its last projection, of which the backward pass keeps the factors alone.

By itself autograd keeps four tensors as wide as the MLP: gate, activation(gate), up, and their product, which the
projection reads. Here it keeps gate and up: the rest is one pass over memory, and is made again on the way back. Values
and gradients are the formula's, bit for bit; those of SiLU that `simd` takes, in one pass, are rounded where they are,
by an exponential of its own (two units in the last place).
"""

import torch
from torch.autograd.function import once_differentiable

from nemo_automodel.components.models.common import simd
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.chunk_by_chunk import called
from nemo_automodel.components.models.common.forgetting import forgetting, opened
from nemo_automodel.components.models.common.glu import glu
from nemo_automodel.components.models.common.row_blocks import outgrows_a_core, row_blocks


def projected(down, activation, gate, up=None, *, lies=None, by="torch"):
    """down(activation(gate) * up): [..., I] -> [..., H]. up None: gate is rows [..., 2I] of both.

    down: a module. Where it is more than a linear map (adapters, quantised weights) it is called as it is, and what it
    keeps is its own. lies, by: as of `glu`.
    """
    y = glu(by, gate, up, activation, plain=product, lies=lies)
    with forgetting(y, type(down)):
        return down(y)


def product(gate, up, activation):
    """activation(gate) * up; where it is worth one, a node that can make it again."""
    if not _is_worth_a_node(gate, up):
        return activation(gate) * up
    return _Product.apply(activation, gate, up, *activation.parameters())


def _is_worth_a_node(gate, up):
    """A compiler makes again what is cheap by itself; subclasses of tensors have rules for their own operators. Without
    gradients it is what `simd` reads, so that a value does not depend on who wants them."""
    if torch.compiler.is_compiling() or not outgrows_a_core(gate) or gate.is_meta:
        return False
    return type(gate) is type(up) is torch.Tensor and (torch.is_grad_enabled() or simd.reads(gate, up))


SILU = type(ACT["silu"])
VECTORS = 64  # numbers that activations take at once, and the last of a block by another formula


class _Product(torch.autograd.Function):
    """A few rows at a time: activation(gate) is read again while it lies in the cache."""

    @staticmethod
    def forward(ctx, activation, gate, up, *parameters):
        ctx.activation, ctx.opened, ctx.made, ctx.again = activation, None, None, _product_of
        ctx.in_one_pass = type(activation) is SILU and _in_one_pass(gate, up)
        ctx.save_for_backward(gate, up, *parameters)
        return simd.silu_product(gate, up) if ctx.in_one_pass else _by_rows(activation, gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        if ctx.in_one_pass:
            (gate, up), ctx.opened, ctx.made = opened(ctx), None, None
            return None, *simd.silu_product_backward(gate, up, grad.contiguous())
        (leaves, product), ctx.made = _made(ctx), None
        found = iter(torch.autograd.grad(product, [one for one in leaves if one.requires_grad], grad))
        return None, *(next(found) if one.requires_grad else None for one in leaves)


def _in_one_pass(gate, up):
    return simd.reads(gate, up) and gate.shape == up.shape and gate.is_contiguous() and up.is_contiguous()


def _by_rows(activation, gate, up):
    if not (gate.is_contiguous() and up.is_contiguous()):
        return activation(gate) * up
    out = torch.empty_like(gate)
    for g, u, y in row_blocks(*(one.view(-1, one.shape[-1]) for one in (gate, up, out)), by=VECTORS):
        torch.mul(activation(g), u, out=y)
    return out


def _made(ctx):
    """(gate, up and parameters apart from their graph, the product of them), once for all that ask on the way back."""
    if ctx.made is None:
        needed = ctx.needs_input_grad[1:]
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(needs) for t, needs in zip(ctx.saved_tensors, needed, strict=True)]
            gate, up, *parameters = leaves
            ctx.made = leaves, called(ctx.activation, parameters, gate) * up
    return ctx.made


def _product_of(node):
    if not node.in_one_pass:
        return _made(node)[1].detach()
    if node.made is None:
        node.made = simd.silu_product(*opened(node))
    return node.made
