"""Cross-entropy of the next token, with its gradient taken in the forward pass, a few rows at a time.

`cross_entropy` works on logits and keeps one gradient in place of several copies. `chunked_cross_entropy` works on what
the head reads, so that the logits of a whole batch never exist: each chunk's gradients are taken while its logits are
still there; three matrix products, as with all logits at once (Liger Kernel, arXiv 2410.10989, section 3).
"""

import torch
from torch import nn
from torch.nn import functional as F

IGNORED = -100
LARGE_VOCABULARY = 65_536
MIN_ROWS, CHUNKS = 128, 8  # of chunks that go through the head
ROW_BYTES = 2**22  # of the fp32 rows that the softmax reads at once: a core's share of the cache


def cross_entropy(logits, labels, num_items_in_batch=None, shift_labels=None, ignore_index=IGNORED):
    """logits [B, S, V], labels [B, S] (`ignore_index`: ignored) -> the mean loss of the next token, a scalar in fp32.

    `shift_labels` are labels that are shifted already; `num_items_in_batch` divides the sum in place of their count.
    """
    targets, count = _targets(logits, labels, num_items_in_batch, shift_labels, ignore_index)
    return _Loss.apply(logits.reshape(-1, logits.shape[-1]), targets, count, ignore_index)


def _targets(x, labels, num_items_in_batch, shift_labels, ignored):
    """Targets [B * S], and what divides the sum of their losses."""
    if shift_labels is None:
        shift_labels = F.pad(labels, (0, 1), value=ignored)[..., 1:]
    targets = shift_labels.reshape(-1).to(x.device)
    if num_items_in_batch is None:
        return targets, (targets != ignored).sum()
    return targets, num_items_in_batch.to(x.device) if torch.is_tensor(num_items_in_batch) else num_items_in_batch


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, count, ignored):
        loss, grad = torch.zeros((), device=logits.device), torch.empty_like(logits)
        size = max(1, ROW_BYTES // (4 * logits.shape[-1]))
        for rows, target, out in zip(logits.split(size), targets.split(size), grad.split(size), strict=True):
            kept = target != ignored
            target = target.where(kept, 0)[:, None]
            scale = (kept.float() / count)[:, None]
            logp = torch.log_softmax(rows, dim=-1, dtype=torch.float32)
            loss -= (logp.gather(1, target) * scale).sum()
            out.copy_(logp.exp_().mul_(scale).scatter_add_(1, target, -scale))
        ctx.save_for_backward(grad)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        return scaled(ctx.saved_tensors[0], grad_output), None, None, None


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


@torch.compiler.disable
def chunked_cross_entropy(
    hidden, head, labels, transform, num_items_in_batch=None, shift_labels=None, ignore_index=IGNORED
):
    """hidden [B, S, H], labels [B, S] (`ignore_index`: ignored) -> the mean loss of the next token, a scalar in fp32.

    `transform` maps raw logits to logits; `shift_labels` are labels that are shifted already; `num_items_in_batch`
    divides the sum in place of the count of labels.
    """
    targets, count = _targets(hidden, labels, num_items_in_batch, shift_labels, ignore_index)
    rows = hidden.reshape(-1, hidden.shape[-1])
    wanted = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in (rows, head.weight, head.bias)]
    return _ChunkedLoss.apply(rows, head.weight, head.bias, targets, transform, count, ignore_index, wanted)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight, bias, targets, transform, count, ignored, wanted):
        size = max(MIN_ROWS, -(-len(rows) // CHUNKS))
        loss = torch.zeros((), dtype=torch.float32, device=rows.device)
        grads = [
            torch.zeros_like(t, dtype=torch.float32) if w else None
            for t, w in zip((weight, bias), wanted[1:], strict=True)
        ]
        grad_rows = torch.empty_like(rows) if wanted[0] else None
        for start in range(0, len(rows), size):
            chunk = slice(start, start + size)
            raw = F.linear(rows[chunk], weight, bias)
            part, slope = _loss_and_slope(raw, targets[chunk], transform, count, ignored)
            loss += part
            if grad_rows is not None:
                grad_rows[chunk] = slope @ weight
            _accumulate(grads, slope, rows[chunk])
        grads = [None if g is None else g.to(t.dtype) for g, t in zip(grads, (weight, bias), strict=True)]
        ctx.save_for_backward(grad_rows, *grads)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        grads = (None if grad is None else scaled(grad, grad_output) for grad in ctx.saved_tensors)
        return (*grads, None, None, None, None, None)


def _loss_and_slope(raw, targets, transform, count, ignored):
    """The chunk's share of the loss, and its derivative by the raw logits [rows, V]."""
    with torch.enable_grad():
        raw = raw.detach().requires_grad_()
        loss = F.cross_entropy(transform(raw).float(), targets, ignore_index=ignored, reduction="sum") / count
    return loss.detach(), torch.autograd.grad(loss, raw)[0]


def _accumulate(grads, slope, rows):
    """Adds a chunk to the gradients of weight and bias, which are fp32 until all chunks are in."""
    weight, bias = grads
    if weight is not None and weight.dtype == slope.dtype == rows.dtype:
        weight.addmm_(slope.t(), rows)
    elif weight is not None:
        weight += slope.t() @ rows
    if bias is not None:
        bias += slope.float().sum(0)
