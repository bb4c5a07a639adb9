"""Cross-entropy of the next token, with its gradient taken in the forward pass, a few rows at a time.

`cross_entropy` works on logits and keeps one gradient in place of several copies. `chunked_cross_entropy` works on what
the head reads and keeps the gradients of that and of the head's weight, or that of the head's output, where it is given
and smaller. Where it is not given, logits of a whole batch never exist: each chunk's gradients are taken while its
logits are still there; three matrix products, as with all at once (Liger Kernel, arXiv 2410.10989, section 3). Rows
whose label is ignored (prompts, images) go through none of them, where they are many.
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from nemo_automodel.components.models.common.forgetting import made_again, maker

IGNORED = -100
LARGE_VOCABULARY = 65_536
MIN_ROWS, CHUNKS = 128, 8  # of chunks that go through the head
GIVEN_CHUNKS = 2  # where logits are there already: each more adds once to the gradient of the whole weight
MANY = 1 / 5  # of the rows: so many that are ignored are worth finding the others
ROW_BYTES = 2**22  # of the fp32 rows that the softmax reads at once: a core's share of the cache


def cross_entropy(logits, labels, num_items_in_batch=None, shift_labels=None, ignore_index=IGNORED):
    """logits [B, S, V], labels [B, S] (`ignore_index`: ignored) -> the mean loss of the next token, a scalar in fp32.

    `shift_labels` are labels that are shifted already; `num_items_in_batch` divides the sum in place of their count.
    """
    targets = _targets(logits, labels, num_items_in_batch, shift_labels, ignore_index)
    return _Loss.apply(logits.reshape(-1, logits.shape[-1]), targets)


class _Targets(NamedTuple):
    """labels [R], those among them that are `ignored`, and what divides the sum of the others' losses, a scalar.

    place: the rows [R] that they are of; None: of all, in order.
    """

    labels: torch.Tensor
    count: torch.Tensor
    ignored: int
    place: torch.Tensor | None = None

    def split(self, size):
        """Of every `size` labels: the rows that they are of, as an index, their place among the labels, and them."""
        for start in range(0, max(1, len(self.labels)), size):
            here = slice(start, start + size)
            rows = here if self.place is None else self.place[here]
            yield rows, here, self._replace(labels=self.labels[here], place=None)

    def chosen(self):
        """These without the ignored ones, where those are many. On a CPU: elsewhere finding them waits for the device,
        and of no label the loss is one of all."""
        if self.labels.device.type != "cpu":
            return self
        kept = self.labels != self.ignored
        if not 0 < kept.sum() <= (1 - MANY) * len(kept):
            return self
        place = kept.nonzero().squeeze(1)
        return self._replace(labels=self.labels[place], place=place)

    def of(self, rows):
        """The labels' rows of all."""
        return rows if self.place is None else rows[self.place]

    def put(self, made, size):
        """What is made of each label's row [labels, H] as rows of all [size, H], which are zero elsewhere."""
        return made if self.place is None else made.new_zeros(size, *made.shape[1:]).index_copy_(0, self.place, made)

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
    """The sum of the losses in fp32, and the gradient of their mean by the logits [R, V] of the labels, less its second
    share."""
    total, slope = torch.zeros((), device=logits.device), _slope(logits, targets)
    share = targets.shares(logits.dtype)[0]
    for rows, here, part in targets.split(_rows_at_once(logits)):
        kept = part.labels != part.ignored
        label = part.labels.where(kept, 0)[:, None]
        kept = kept.float()[:, None]
        logp = torch.log_softmax(logits[rows], dim=-1, dtype=torch.float32)
        total -= (logp.gather(1, label) * kept).sum()
        slope[here] = logp.exp_().mul_(kept * share).scatter_add_(1, label, -kept * share)
    return total, slope


def _slope(logits, targets):
    """Place for a row of each label."""
    return logits.new_empty(len(targets.labels), logits.shape[-1])


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


def keeps_less(hidden, head, rows):
    """Whether gradients of what a head reads [B, S, H] and of its weight are smaller than that of so many rows of
    logits."""
    own = hidden.numel() * hidden.requires_grad + head.weight.numel() * head.weight.requires_grad
    return own <= rows * head.out_features


class _HeadLoss(torch.autograd.Function):
    """Keeps the gradient of the head's output, and what the head reads, or in its place the node that can make it."""

    @staticmethod
    def forward(ctx, rows, weight, bias, raw, targets, transform, node):
        total, slope = _by_head(raw, targets, transform)
        ctx.node, ctx.shape, ctx.dtype, ctx.targets = node, rows.shape, rows.dtype, targets
        ctx.save_for_backward(None if node else rows, weight, slope, targets.shares(slope.dtype)[1])
        return targets.mean(total)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        rows, weight, slope, share = ctx.saved_tensors
        slope, (by_rows, by_weight, by_bias, *_) = scaled(slope, grad_output * share), ctx.needs_input_grad
        grad_rows = grad_weight = grad_bias = None
        if by_rows:
            grad_rows = ctx.targets.put((slope @ weight.to(slope.dtype)).to(ctx.dtype), ctx.shape[0])
        if by_weight:
            rows = made_again(ctx.node, ctx.shape) if rows is None else rows
            grad_weight = (slope.t() @ ctx.targets.of(rows).to(slope.dtype)).to(weight.dtype)
        if by_bias:
            grad_bias = slope.sum(0).to(weight.dtype)
        return grad_rows, grad_weight, grad_bias, None, None, None, None


def _by_head(raw, targets, transform):
    """`_total_and_slope` of transform(raw), by raw [R, V] of the labels."""
    none = raw[:0]
    if transform(none) is none:
        return _total_and_slope(raw, targets)
    total, slope = torch.zeros((), dtype=torch.float32, device=raw.device), _slope(raw, targets)
    for rows, here, part in targets.split(_rows_at_once(raw)):
        lost, slope[here] = _through(raw[rows], transform, part)
        total += lost
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
    targets = _targets(hidden, labels, num_items_in_batch, shift_labels, ignore_index).chosen()
    rows = hidden.reshape(-1, hidden.shape[-1])
    raw = None if raw is None else raw.detach().reshape(-1, raw.shape[-1])
    if raw is not None and not keeps_less(hidden, head, len(targets.labels)):
        return _HeadLoss.apply(rows, head.weight, head.bias, raw, targets, transform, maker(hidden))
    wanted = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in (rows, head.weight, head.bias)]
    return _ChunkedLoss.apply(rows, head.weight, head.bias, raw, targets, transform, wanted)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight, bias, raw, targets, transform, wanted):
        size = max(MIN_ROWS, -(-len(targets.labels) // (CHUNKS if raw is None else GIVEN_CHUNKS)))
        total = torch.zeros((), dtype=torch.float32, device=rows.device)
        grads = [
            torch.zeros_like(t, dtype=torch.float32) if w else None
            for t, w in zip((weight, bias), wanted[1:], strict=True)
        ]
        grad_rows = (torch.empty_like if targets.place is None else torch.zeros_like)(rows) if wanted[0] else None
        for chunk, _, part in targets.split(size):
            read = rows[chunk]
            made = F.linear(read, weight, bias) if raw is None else raw[chunk]
            lost, slope = _through(made, transform, part)
            total += lost
            if grad_rows is not None:
                grad_rows[chunk] = (slope @ weight).to(rows.dtype)
            _accumulate(grads, slope, read)
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
