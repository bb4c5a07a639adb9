"""Sums over the past that a state carries from chunk to chunk, with little kept for the backward pass."""

import torch
from torch.autograd.function import once_differentiable
from torch.func import functional_call


def chunk_by_chunk(one, inputs, state, documents, size, back=None, shared=()):
    """What one chunk makes, after another: (y [B, S, ...], last state). Cost is linear in length.

    one: (*cuts of the inputs [B, L, ...], *shared, state, numbers) -> (y [B, L, ...], state after), of differentiable
    steps. inputs: tensors [B, S, ...]. documents [1 or B, S], or None; `numbers` [1 or B, 1 + L] are those of a chunk
    behind that of the token that comes first. size: the most tokens of a chunk. shared: tensors that each chunk reads
    whole.
    back: (*cuts, *shared, state, numbers, gradients of y and of the state after) -> those of all but the numbers, None
    for a tensor that needs none. No `back`: what autograd finds for `one`.

    Where gradients are wanted, the inputs and the states between chunks are kept, and each chunk is computed again on
    the way back.
    """
    given = (size, documents, len(inputs), state, *inputs, *shared)
    if by_hand((*inputs, *shared)) and torch.is_grad_enabled():
        return _Chunks.apply(one, back or _by_autograd(one), *given)
    y, states = _all_chunks(one, *given)
    return y, states[-1]


def called(module, parameters, x):
    """module(x) with these in the place of its own parameters, in their order."""
    if all(mine is given for mine, given in zip(module.parameters(), parameters, strict=True)):
        return module(x)
    own = dict(module.named_parameters())
    return functional_call(module, dict(zip(own, parameters, strict=True)), (x,))


def by_hand(tensors):
    """Whether nodes with a backward pass of their own can take them: not of other classes, nor within torch.compile."""
    plain = all(type(tensor) in (torch.Tensor, torch.nn.Parameter) for tensor in tensors)
    return plain and not torch.compiler.is_compiling()


def _all_chunks(one, size, documents, count, state, *tensors):
    """y, and the states before each chunk and after the last. count: of the tensors that are cut."""
    states, whole = [state], _Written(tensors[0].shape[1])
    for piece in _pieces(tensors[0].shape[1], size):
        y, state = one(*_cut(tensors, count, piece), state, _numbers(documents, piece))
        whole.add(y, piece)
        states.append(state)
    return whole.found(), states


class _Written:
    """The outputs of chunks: put together at the end where autograd must see it, else written as they come."""

    def __init__(self, length):
        self.length, self.ys = length, []
        self.at_once = not torch.is_grad_enabled() and not torch.compiler.is_compiling()

    def add(self, y, piece):
        if self.at_once and y.shape[1] < self.length:
            self.ys = self.ys or [y.new_empty(len(y), self.length, *y.shape[2:])]
            self.ys[0][:, piece] = y
        else:
            self.ys.append(y)

    def found(self):
        return torch.cat(self.ys, dim=1) if len(self.ys) > 1 else self.ys[0]


def _pieces(length, size):
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _cut(tensors, count, piece):
    return [*(one[:, piece] for one in tensors[:count]), *tensors[count:]]


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
    def forward(ctx, one, back, size, documents, count, state, *tensors):
        y, states = _all_chunks(one, size, documents, count, state, *tensors)
        ctx.save_for_backward(documents, *tensors, *states[:-1])
        ctx.back, ctx.size, ctx.count, ctx.length = back, size, count, len(tensors)
        return y, states[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y, grad_state):
        documents, *saved = ctx.saved_tensors  # read once: checkpointing counts
        tensors, states = saved[: ctx.length], saved[ctx.length :]
        found = _room(tensors, ctx.count, ctx.needs_input_grad[-ctx.length :])
        pieces = _pieces(tensors[0].shape[1], ctx.size)
        for piece, state in zip(reversed(pieces), reversed(states), strict=True):
            cuts = _cut(tensors, ctx.count, piece)
            *grads, grad_state = ctx.back(*cuts, state, _numbers(documents, piece), grad_y[:, piece], grad_state)
            _enter(found, ctx.count, piece, grads)
        return None, None, None, None, None, grad_state, *found


def _room(tensors, count, wanted):
    """Where gradients are written, for those of cut tensors, and added up; None where none is wanted."""
    makers = [torch.empty_like] * count + [torch.zeros_like] * (len(tensors) - count)
    return [make(one) if needs else None for make, one, needs in zip(makers, tensors, wanted, strict=True)]


def _enter(found, count, piece, grads):
    """What one chunk gives."""
    for place, (whole, grad) in enumerate(zip(found, grads, strict=True)):
        if whole is not None and place < count:
            whole[:, piece] = grad
        elif whole is not None:
            whole += grad
