"""Rows of a tensor, a few at a time: what several passes read again then still lies in the cache of a core."""

import torch

CORE_BYTES = 2**20  # of fp32 rows: a share of the cache that a core has for itself


def block_bytes():
    return CORE_BYTES * torch.get_num_threads()


def outgrows_a_core(x):
    """Whether x in fp32 is more than a core's share; smaller tensors stay in the cache between passes anyhow."""
    return 4 * x.numel() > CORE_BYTES


def row_order(x):
    """The permutation under which x [..., D] is read in the order of memory; D stays last."""
    return *sorted(range(x.dim() - 1), key=x.stride, reverse=True), x.dim() - 1


def as_rows(x, order):
    """x [..., D] -> [R, D], permuted; a view where `order` is x's own and x has no gaps."""
    return x.permute(order).reshape(-1, x.shape[-1])


def from_rows(rows, like, order):
    """The inverse: [R, D] -> [..., D], in the shape and the order in memory of `like`."""
    back = sorted(range(like.dim()), key=order.__getitem__)
    return rows.view([like.shape[d] for d in order]).permute(back)


def row_blocks(*tensors, by=1):
    """Slices along dimension 0 of [R, ...] each, together, R > 0; all at once on a device that is not a CPU.

    by: what their number of rows is a multiple of, but in the last.
    """
    rows = len(tensors[0])
    if tensors[0].device.type == "cpu":
        rows = max(1, block_bytes() // (4 * by * max(t[0].numel() for t in tensors))) * by
    return zip(*(t.split(rows) for t in tensors), strict=True)
