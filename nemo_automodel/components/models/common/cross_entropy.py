"""The loss of a language model over chunks of positions, so that the logits of a whole batch never exist at once.

Each chunk's gradients are taken right after its loss, while its logits are still there: three matrix products, as
with all logits at once, and a fraction of the memory (Liger Kernel, arXiv 2410.10989, section 3).
"""

import torch
from torch import nn
from torch.nn import functional as F

IGNORED = -100
LARGE_VOCABULARY = 65_536
MIN_ROWS, CHUNKS = 128, 8


def why_not_chunked(head):
    """The reason why a head's weight cannot be read apart from its module; None where it can."""
    if type(head) is not nn.Linear:
        return f"the head is a {type(head).__name__}, not a plain Linear"
    if head._forward_hooks or head._forward_pre_hooks:
        return "the head has hooks"
    return None if type(head.weight) is nn.Parameter else f"its weight is a {type(head.weight).__name__}"


@torch.compiler.disable
def chunked_cross_entropy(hidden, head, labels, transform, num_items_in_batch=None, shift_labels=None):
    """hidden [B, S, H], labels [B, S] (-100: ignored) -> the mean loss of the next token, a scalar in fp32.

    `transform` maps raw logits to logits; `shift_labels` are labels that are shifted already; `num_items_in_batch`
    divides the sum in place of the count of labels.
    """
    if shift_labels is None:
        shift_labels = F.pad(labels, (0, 1), value=IGNORED)[..., 1:]
    targets = shift_labels.reshape(-1).to(hidden.device)
    count = (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    count = count.to(hidden.device) if torch.is_tensor(count) else count
    rows = hidden.reshape(-1, hidden.shape[-1])
    wanted = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in (rows, head.weight, head.bias)]
    return _ChunkedLoss.apply(rows, head.weight, head.bias, targets, transform, count, wanted)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight, bias, targets, transform, count, wanted):
        size = max(MIN_ROWS, -(-len(rows) // CHUNKS))
        loss = torch.zeros((), dtype=torch.float32, device=rows.device)
        grads = [
            torch.zeros_like(t, dtype=torch.float32) if w else None
            for t, w in zip((weight, bias), wanted[1:], strict=True)
        ]
        grad_rows = torch.empty_like(rows) if wanted[0] else None
        for start in range(0, len(rows), size):
            chunk = slice(start, start + size)
            part, slope = _loss_and_slope(F.linear(rows[chunk], weight, bias), targets[chunk], transform, count)
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
        scaled = (None if grad is None else grad.mul_(grad_output) for grad in ctx.saved_tensors)
        return (*scaled, None, None, None, None)


def _loss_and_slope(raw, targets, transform, count):
    """The chunk's share of the loss, and its derivative by the raw logits [rows, V]."""
    with torch.enable_grad():
        raw = raw.detach().requires_grad_()
        loss = F.cross_entropy(transform(raw).float(), targets, ignore_index=IGNORED, reduction="sum") / count
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
