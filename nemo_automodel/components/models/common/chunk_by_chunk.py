"""Sums over the past that a state carries from chunk to chunk, with little kept for the backward pass."""

import torch
from torch.autograd.function import once_differentiable


def chunk_by_chunk(one, inputs, state, documents, size, back=None):
    """What one chunk makes, after another: (y [B, S, ...], last state). Cost is linear in length.

    one: (*cuts of the inputs [B, L, ...], state, numbers) -> (y [B, L, ...], state after), of differentiable steps.
    inputs: tensors [B, S, ...]. documents [1 or B, S], or None; `numbers` [1 or B, 1 + L] are those of a chunk behind
    that of the token that comes first. size: the most tokens of a chunk.
    back: (*cuts, state, numbers, gradients of y and of the state after) -> those of the cuts and of the state. None:
    what autograd finds for `one`.

    Where gradients are wanted, the inputs and the states between chunks are kept, and each chunk is computed again on
    the way back.
    """
    given = (size, documents, state, *inputs)
    if by_hand(inputs) and torch.is_grad_enabled():
        return _Chunks.apply(one, back or _by_autograd(one), *given)
    y, states = _all_chunks(one, *given)
    return y, states[-1]


def by_hand(tensors):
    """Whether nodes with a backward pass of their own can take them: not of other classes, nor within torch.compile."""
    return all(type(tensor) is torch.Tensor for tensor in tensors) and not torch.compiler.is_compiling()


def _all_chunks(one, size, documents, state, *inputs):
    """y, and the states before each chunk and after the last."""
    states, found = [state], []
    for piece in _pieces(inputs[0].shape[1], size):
        y, state = one(*(tensor[:, piece] for tensor in inputs), state, _numbers(documents, piece))
        found.append(y)
        states.append(state)
    return torch.cat(found, dim=1), states


def _pieces(length, size):
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _numbers(documents, piece):
    if documents is None:
        return None
    return torch.cat((documents[:, max(piece.start - 1, 0)][:, None], documents[:, piece]), dim=1)


def _by_autograd(one):
    """The gradients of a chunk that is computed again."""

    def back(*given):
        *given, numbers, grad_y, grad_state = given
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in given]
            made = one(*leaves, numbers)
        return torch.autograd.grad(made, leaves, (grad_y, grad_state))

    return back


class _Chunks(torch.autograd.Function):
    """`_all_chunks` as one node."""

    @staticmethod
    def forward(ctx, one, back, size, documents, state, *inputs):
        y, states = _all_chunks(one, size, documents, state, *inputs)
        ctx.save_for_backward(documents, *inputs, *states[:-1])
        ctx.back, ctx.size, ctx.count = back, size, len(inputs)
        return y, states[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_state):
        documents, *saved = ctx.saved_tensors  # read once: checkpointing counts
        inputs, states = saved[: ctx.count], saved[ctx.count :]
        found = [torch.empty_like(tensor) for tensor in inputs]
        pieces = _pieces(inputs[0].shape[1], ctx.size)
        for piece, state in zip(reversed(pieces), reversed(states), strict=True):
            cuts = (tensor[:, piece] for tensor in inputs)
            *grads, grad_state = ctx.back(*cuts, state, _numbers(documents, piece), grad_y[:, piece], grad_state)
            for whole, grad in zip(found, grads, strict=True):
                whole[:, piece] = grad
        return None, None, None, None, grad_state, *found
