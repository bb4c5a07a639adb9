"""RMSNorm as a formula, and with its weight as one node of autograd, which reads memory once each way.

The node keeps x and one number a row. With y = x / rms(x) and h = gradient * weight, the gradient by x is
(h - y * mean(h * y)) / rms(x). Its values are those of the formula, bit for bit; gradients are taken in fp32. What
`simd` can read it reads in one pass, and so one token without gradients; there the mean is rounded once.
"""

import torch
from torch.nn import functional as F

from nemo_automodel.components.models.common import kernels, simd
from nemo_automodel.components.models.common.backend import offered
from nemo_automodel.components.models.common.forgetting import opened
from nemo_automodel.components.models.common.row_blocks import (
    as_rows,
    from_rows,
    outgrows_a_core,
    row_blocks,
    row_order,
)


def rms(x, eps):
    """x [..., D] in fp32, divided by its root mean square."""
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def rms_norm(x, weight, eps, *, rounds_first):
    """x [..., D] scaled by a weight that broadcasts: in x's dtype, to which it is rounded first, or in fp32."""
    if _is_worth_a_node(x, weight, rounds_first):
        return _RMSNorm.apply(x, weight, eps, rounds_first)
    if _is_one_token(x, weight, rounds_first):
        return simd.rms_norm(x, weight, eps, rounds_first)
    unit = rms(x, eps)
    return weight * unit.to(x.dtype) if rounds_first else (weight * unit).to(x.dtype)


def _is_worth_a_node(x, weight, rounds_first):
    """A compiler fuses the formula by itself; subclasses of tensors (DTensor) have rules for its operators alone.
    Without gradients it is what `simd` reads, so that a value does not depend on who wants them."""
    if torch.compiler.is_compiling() or not outgrows_a_core(x) or not (torch.is_grad_enabled() or simd.reads(x)):
        return False
    if type(x) is not torch.Tensor or type(weight) not in (torch.Tensor, torch.nn.Parameter) or weight.dim() != 1:
        return False
    return _gives_its_dtype(x, weight, rounds_first)


def _gives_its_dtype(x, weight, rounds_first):
    return weight.dtype == x.dtype or (weight.dtype == torch.float32 and not rounds_first)


def _is_one_token(x, weight, rounds_first):
    """Whether x [..., 1, D] is what a model has that writes one token after the other, without gradients: there the
    formula takes longer to call than to compute."""
    if not simd.suits(x) or type(weight) not in simd.PLAIN or not _gives_its_dtype(x, weight, rounds_first):
        return False
    if x.dim() < 2 or x.shape[-2] != 1 or not x.numel() or weight.shape != x.shape[-1:]:
        return False
    return x.is_contiguous() and weight.is_contiguous() and weight.is_cpu


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps, rounds_first):
        order = row_order(x)
        rows = as_rows(x, order)
        scale = rows.new_empty((len(rows), 1), dtype=torch.float32)
        if _in_one_pass(rows, weight):
            out = simd.rms_norm(rows, weight, eps, rounds_first, scale)
        else:
            out = _by_blocks(rows, weight, eps, rounds_first, scale)
        ctx.save_for_backward(x, weight, scale)
        ctx.rounds_first, ctx.opened, ctx.made, ctx.again = rounds_first, None, None, _again
        return from_rows(out, x, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x, weight, scale), ctx.opened, ctx.made = opened(ctx), None, None
        order = row_order(x)
        rows, grad = as_rows(x, order), as_rows(grad, order)
        gradients = simd.rms_norm_backward if _in_one_pass(rows, weight) else _gradients_by_blocks
        grad_x, grad_weight = gradients(rows, weight, scale, grad.contiguous())
        return from_rows(grad_x, x, order), grad_weight.to(weight.dtype), None, None


def _in_one_pass(rows, weight):
    """Whether `simd` reads both: the weight is then one number a column."""
    if not simd.reads(rows) or not rows.is_contiguous() or weight.shape != rows.shape[1:]:
        return False
    return weight.is_cpu and weight.is_contiguous()


def _by_blocks(rows, weight, eps, rounds_first, scale):
    """The output for rows [R, D]; one over their root mean squares goes into scale [R, 1]."""
    out = torch.empty_like(rows)
    for x, y, s in row_blocks(rows, out, scale):
        x = x.float()
        torch.mean(x.square(), -1, keepdim=True, out=s).add_(eps).rsqrt_()
        _scaled(x, s, weight, rounds_first, out=y)
    return out


def _gradients_by_blocks(rows, weight, scale, grad):
    """Gradients by rows [R, D], and by the weight in fp32."""
    weight = weight.float()
    grad_rows, grad_weight = torch.empty_like(rows), torch.zeros_like(weight)
    for x, g, s, out in row_blocks(rows, grad, scale, grad_rows):
        unit, g = x * s, g.float()
        product = g * unit
        grad_weight += product.sum(0)
        mean = (product @ weight).div_(x.shape[-1])[:, None]
        _multiply((g * weight).addcmul_(unit, mean, value=-1), s, out=out)
    return grad_rows, grad_weight


def _scaled(x, scale, weight, rounds_first, *, out):
    unit = (x * scale).to(out.dtype if rounds_first else torch.float32)
    _multiply(unit, weight, out=out)


def _again(node):
    """The output, once for all that read it on the way back (see `forgetting`)."""
    if node.made is None:
        x, weight, scale = opened(node)
        order = row_order(x)
        rows = as_rows(x, order)
        if _in_one_pass(rows, weight):
            out = simd.rms_norm(rows, weight, 0.0, node.rounds_first, scale, again=True)
        else:
            out = torch.empty_like(rows)
            for x_rows, s, y in row_blocks(rows, scale, out):
                _scaled(x_rows.float(), s, weight, node.rounds_first, out=y)
        node.made = from_rows(out, x, order)
    return node.made


def _multiply(a, b, *, out):
    """In the dtype of a and b, rounded to that of `out`."""
    if torch.result_type(a, b) == out.dtype:
        torch.mul(a, b, out=out)
    else:
        out.copy_(a * b)


def fused(x, weight, eps, *, rounds_first):
    """PyTorch's kernel: fp32 inside, one rounding; a weight of several dimensions is multiplied outside of it."""
    if weight.dim() == 1:
        return F.rms_norm(x, weight.shape, weight, eps)
    return F.rms_norm(x, weight.shape[-1:], None, eps) * weight


def by_triton(x, weight, eps, *, rounds_first):
    """Our kernel (`kernels.rms_norm`), fp32 inside."""
    from nemo_automodel.components.models.common.kernels import rms_norm as kernel

    return kernel.rms_norm(x, weight, eps, rounds_first=rounds_first)


def by_liger(x, weight, eps, *, rounds_first):
    """The kernel of the package liger-kernel, in the order of Llama or of Gemma."""
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction

    return LigerRMSNormFunction.apply(x, weight, eps, 0.0, "llama" if rounds_first else "gemma", False)


def why_no_kernel(x, weight, eps, *, rounds_first):
    """Why kernels cannot take these, or None."""
    if weight.dim() != 1:
        return f"the weight has shape {tuple(weight.shape)}, and kernels take one dimension"
    if x.shape[-1] > kernels.WIDEST:
        return f"rows have {x.shape[-1]} entries, and kernels take {kernels.WIDEST}"
    if weight.dtype != x.dtype and (rounds_first or weight.dtype != torch.float32):
        return f"the weight is {weight.dtype} and the input {x.dtype}"
    return kernels.why_not(x, weight)


def add_rms_norm(x, y, weight, eps, *, rounds_first, by="torch"):
    """x, y [..., D] -> x + y, and its RMSNorm; one node where a kernel takes them. by: `torch` or `triton`."""
    return ADDING[by](x, y, weight, eps, rounds_first=rounds_first)


def _added(x, y, weight, eps, *, rounds_first):
    total = x + y
    return total, rms_norm(total, weight, eps, rounds_first=rounds_first)


def _added_by_triton(x, y, weight, eps, *, rounds_first):
    from nemo_automodel.components.models.common.kernels import rms_norm as kernel

    return kernel.add_rms_norm(x, y, weight, eps, rounds_first=rounds_first)


def _why_not_added(x, y, weight, eps, *, rounds_first):
    if x.shape != y.shape or x.dtype != y.dtype:
        return f"x is {x.dtype} {tuple(x.shape)} and y {y.dtype} {tuple(y.shape)}"
    return why_no_kernel(x, weight, eps, rounds_first=rounds_first) or kernels.why_not(y)


ADDING = {
    "torch": _added,
    "triton": offered("rms_norm", "triton", _added_by_triton, _why_not_added, _added),
}
FORMS = {
    "torch": rms_norm,
    "torch_fused": fused,
    "triton": offered("rms_norm", "triton", by_triton, why_no_kernel, rms_norm),
    "liger": offered("rms_norm", "liger", by_liger, why_no_kernel, rms_norm),
}
