"""One matrix product for each expert, on its own rows, by PyTorch."""

import torch


def products(x, weights, block, out, bias=None):
    """out = x @ weights[e] (+ bias[e]) for each expert's rows: x [S, A], weights [E, A, B] -> out [S, B].

    `block` is [(expert, rows), ...] in the order of the rows.
    """
    if not block:
        return out
    first, last = block[0][0], block[-1][0]
    weights = weights[first : last + 1].unbind(0)  # one by one would take longer than a small product
    for expert, x_rows, out_rows in slices(block, x, out):
        if bias is None:
            torch.mm(x_rows, weights[expert - first], out=out_rows)
        else:
            torch.addmm(bias[expert], x_rows, weights[expert - first], out=out_rows)
    return out


def grad_products(grad, x, block, out):
    """out[e] = grad^T @ x for each expert's rows: grad [S, A], x [S, B], out [E, A, B] or None."""
    if out is not None:
        for expert, grad_rows, x_rows in slices(block, grad, x):
            torch.mm(grad_rows.t(), x_rows, out=out[expert])


def slices(block, *rows):
    """(expert, its part of each of `rows`) for the experts of a block."""
    sizes = [size for _, size in block]
    return zip((expert for expert, _ in block), *(each.split(sizes) for each in rows), strict=True)
