"""Cross-entropy of the next token, with its gradient taken in the forward pass, a few rows at a time.

`cross_entropy` works on logits and keeps one gradient in place of several copies. `chunked_cross_entropy` works on what
the head reads and keeps the gradients of that and of the head's weight, or that of the head's output, where it is given
and smaller. Where it is not given, logits of a whole batch never exist: each chunk's gradients are taken while its
logits are still there; three matrix products, as with all at once (Liger Kernel, arXiv 2410.10989, section 3).
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nemo_automodel.components.models.common.forgetting import made_again, maker

IGNORED = -100
LARGE_VOCABULARY = 65_536
MIN_ROWS, CHUNKS = 128, 8  # of chunks that go through the head
ROW_BYTES = 2**22  # of the fp32 rows that the softmax reads at once: a core's share of the cache


def cross_entropy(logits, labels, num_items_in_batch=None, shift_labels=None, ignore_index=IGNORED):
    """logits [B, S, V], labels [B, S] (`ignore_index`: ignored) -> the mean loss of the next token, a scalar in fp32.

    `shift_labels` are labels that are shifted already; `num_items_in_batch` divides the sum in place of their count.
    """
    targets = _targets(logits, labels, num_items_in_batch, shift_labels, ignore_index)
    return _Loss.apply(logits.reshape(-1, logits.shape[-1]), targets)


class _Targets(NamedTuple):
    """labels [R], those among them that are `ignored`, and what divides the sum of the others' losses, a scalar."""

    labels: torch.Tensor
    count: torch.Tensor
    ignored: int

    def split(self, size):
        return (self._replace(labels=part) for part in self.labels.split(size))

    def mean(self, total):
        """Of losses with this sum: of no text 0, of no label not a number, as transformers' is."""
        return total / self.count if len(self.labels) else total

    def shares(self, dtype):
        """1 / count as two factors: of the logits' gradient, which is rounded to `dtype`, and of what is made of it.

        fp16 has too few powers of two for both, and a loss scale comes only after. No gradient comes of no label.
        """
        share = 1 / torch.where(self.count == 0, 1, self.count)
        if dtype != torch.float16:
            return share, torch.ones_like(share)
        mantissa, exponent = torch.frexp(share)
        return mantissa, torch.ldexp(torch.ones_like(share), exponent)


def _targets(x, labels, num_items_in_batch, shift_labels, ignored):
    if shift_labels is None:
        shift_labels = F.pad(labels, (0, 1), value=ignored)[..., 1:]
    labels = shift_labels.reshape(-1).to(x.device)
    count = (labels != ignored).sum() if num_items_in_batch is None else num_items_in_batch
    return _Targets(labels, torch.as_tensor(count, dtype=torch.float32, device=x.device), ignored)


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets):
        total, grad = _total_and_slope(logits, targets)
        ctx.save_for_backward(grad, targets.shares(grad.dtype)[1])
        return targets.mean(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        grad, share = ctx.saved_tensors
        return scaled(grad, grad_output * share), None


def _total_and_slope(logits, targets):
    """The sum of the losses in fp32, and the gradient of their mean by the logits [R, V], less its second share."""
    total, slope = torch.zeros((), device=logits.device), torch.empty_like(logits)
    share, size = targets.shares(logits.dtype)[0], _rows_at_once(logits)
    for rows, part, out in zip(logits.split(size), targets.split(size), slope.split(size), strict=True):
        kept = part.labels != part.ignored
        label = part.labels.where(kept, 0)[:, None]
        kept = kept.float()[:, None]
        logp = torch.log_softmax(rows, dim=-1, dtype=torch.float32)
        total -= (logp.gather(1, label) * kept).sum()
        out.copy_(logp.exp_().mul_(kept * share).scatter_add_(1, label, -kept * share))
    return total, slope


def _rows_at_once(logits):
    return max(1, ROW_BYTES // (4 * logits.shape[-1]))


def scaled(grad, factor):
    """grad times factor; on a CPU a factor of 1 costs nothing (elsewhere asking would wait for the device)."""
    return grad if factor.device.type == "cpu" and factor == 1 else grad * factor


def why_not_chunked(head):
    """The reason why a head's weight cannot be read apart from its module; None where it can."""
    if type(head) is not nn.Linear:
        return f"the head is a {type(head).__name__}, not a plain Linear"
    if head._forward_hooks or head._forward_pre_hooks:
        return "the head has hooks"
    return None if type(head.weight) is nn.Parameter else f"its weight is a {type(head.weight).__name__}"


def keeps_less(hidden, head):
    """Whether gradients of what a head reads [B, S, H] and of its weight are smaller than that of its logits."""
    rows = hidden.shape[:-1].numel()
    own = rows * hidden.shape[-1] * hidden.requires_grad + head.weight.numel() * head.weight.requires_grad
    return own <= rows * head.out_features


class _HeadLoss(torch.autograd.Function):
    """Keeps the gradient of the head's output, and what the head reads, or in its place the node that can make it."""

    @staticmethod
    def forward(ctx, rows, weight, bias, raw, targets, transform, node):
        total, slope = _by_head(raw, targets, transform)
        ctx.node, ctx.shape, ctx.dtype = node, rows.shape, rows.dtype
        ctx.save_for_backward(None if node else rows, weight, slope, targets.shares(slope.dtype)[1])
        return targets.mean(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        rows, weight, slope, share = ctx.saved_tensors
        slope, (by_rows, by_weight, by_bias, *_) = scaled(slope, grad_output * share), ctx.needs_input_grad
        grad_rows = (slope @ weight.to(slope.dtype)).to(ctx.dtype) if by_rows else None
        grad_weight = grad_bias = None
        if by_weight:
            rows = made_again(ctx.node, ctx.shape) if rows is None else rows
            grad_weight = (slope.t() @ rows.to(slope.dtype)).to(weight.dtype)
        if by_bias:
            grad_bias = slope.sum(0).to(weight.dtype)
        return grad_rows, grad_weight, grad_bias, None, None, None, None


def _by_head(raw, targets, transform):
    """`_total_and_slope` of transform(raw), by raw [R, V]."""
    none = raw[:0]
    if transform(none) is none:
        return _total_and_slope(raw, targets)
    total, slope = torch.zeros((), dtype=torch.float32, device=raw.device), torch.empty_like(raw)
    pieces = (one.split(_rows_at_once(raw)) for one in (raw, targets, slope))
    for made, part, out in zip(*pieces, strict=True):
        lost, found = _through(made, transform, part)
        total += lost
        out.copy_(found)
    return total, slope


@torch.compiler.disable
def chunked_cross_entropy(
    hidden, head, labels, transform, raw=None, num_items_in_batch=None, shift_labels=None, ignore_index=IGNORED
):
    """hidden [B, S, H], labels [B, S] (`ignore_index`: ignored) -> the mean loss of the next token, a scalar in fp32.

    `transform` maps raw logits to logits; `raw` [B, S, V] is what the head makes of `hidden`, where it is there
    already: no gradient goes by it. `shift_labels` are labels that are shifted already; `num_items_in_batch` divides
    the sum in place of the count of labels.
    """
    targets = _targets(hidden, labels, num_items_in_batch, shift_labels, ignore_index)
    rows = hidden.reshape(-1, hidden.shape[-1])
    raw = None if raw is None else raw.detach().reshape(-1, raw.shape[-1])
    if raw is not None and not keeps_less(hidden, head):
        return _HeadLoss.apply(rows, head.weight, head.bias, raw, targets, transform, maker(hidden))
    wanted = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in (rows, head.weight, head.bias)]
    return _ChunkedLoss.apply(rows, head.weight, head.bias, raw, targets, transform, wanted)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight, bias, raw, targets, transform, wanted):
        size = max(MIN_ROWS, -(-len(rows) // CHUNKS))
        total = torch.zeros((), dtype=torch.float32, device=rows.device)
        grads = [
            torch.zeros_like(t, dtype=torch.float32) if w else None
            for t, w in zip((weight, bias), wanted[1:], strict=True)
        ]
        grad_rows = torch.empty_like(rows) if wanted[0] else None
        for place, part in enumerate(targets.split(size)):
            chunk = slice(place * size, (place + 1) * size)
            made = F.linear(rows[chunk], weight, bias) if raw is None else raw[chunk]
            lost, slope = _through(made, transform, part)
            total += lost
            if grad_rows is not None:
                grad_rows[chunk] = slope @ weight
            _accumulate(grads, slope, rows[chunk])
        grads = [None if g is None else g.to(t.dtype) for g, t in zip(grads, (weight, bias), strict=True)]
        ctx.save_for_backward(grad_rows, *grads, targets.shares(slope.dtype)[1])
        return targets.mean(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        *grads, share = ctx.saved_tensors
        factor = grad_output * share
        return *(None if grad is None else scaled(grad, factor) for grad in grads), None, None, None, None


def _through(raw, transform, targets):
    """`_total_and_slope`, by raw logits [R, V]."""
    with torch.enable_grad():
        raw = raw.detach().requires_grad_()
        logits = transform(raw)
    total, slope = _total_and_slope(logits.detach(), targets)
    return total, slope if logits is raw else torch.autograd.grad(logits, raw, slope)[0]


def _accumulate(grads, slope, rows):
    """Adds a chunk to the gradients of weight and bias, which are fp32 until all chunks are in."""
    weight, bias = grads
    if weight is not None and weight.dtype == slope.dtype == rows.dtype:
        weight.addmm_(slope.t(), rows)
    elif weight is not None:
        weight += slope.t() @ rows
    if bias is not None:
        bias += slope.float().sum(0)
