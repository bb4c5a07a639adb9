"""The kernels that `gpu.py` measures: how each is called, and how often its formula reads and writes rows [T, D]."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.glu import Lies, glu
from nemo_automodel.components.models.common.rms_norm import FORMS, add_rms_norm
from nemo_automodel.components.models.common.rope import apply_rope, normed_rope
from nemo_automodel.components.moe.routed import GATHERED, SUMMED, Routed

OURS, ALL = ("torch", "triton"), ("torch", "triton", "liger")
TOP_K, EXPERTS, HEAD = 2, 8, 128


class Kernel(NamedTuple):
    """make: (backend, T, D, dtype, device) -> (a call that gives a tuple of outputs, what wants gradients).

    forward, backward: bytes that must move each way, in tensors [T, D]. forms: the backends that have it.
    """

    make: Callable
    forward: float
    backward: float
    forms: tuple = OURS


def leaf(*shape, dtype, device):
    return torch.randn(shape, dtype=dtype, device=device, requires_grad=True)


def rms_norm(by, tokens, width, dtype, device):
    x, weight = leaf(tokens, width, dtype=dtype, device=device), leaf(width, dtype=dtype, device=device)
    return lambda: (FORMS[by](x, weight, 1e-5, rounds_first=True),), [x, weight]


def added(by, tokens, width, dtype, device):
    x, y = (leaf(tokens, width, dtype=dtype, device=device) for _ in range(2))
    weight = leaf(width, dtype=dtype, device=device)
    return lambda: add_rms_norm(x, y, weight, 1e-5, rounds_first=True, by=by), [x, y, weight]


def gated(by, tokens, width, dtype, device):
    h, act = leaf(tokens, 2 * width, dtype=dtype, device=device), ACT["silu"]
    return lambda: (glu(by, h, None, act, lies=Lies(1)),), [h]


def heads(by, tokens, width, dtype, device):
    """Heads as a packed projection has them, and the table of a model of that backend."""
    head = min(HEAD, width)
    x = leaf(1, tokens, width // head, head, dtype=dtype, device=device)
    table = [torch.rand(1, tokens, head // 2, dtype=dtype, device=device) for _ in range(2)]
    table[0].by = by
    return x, table, leaf(head, dtype=dtype, device=device)


def turned(*given):
    x, table, _ = heads(*given)
    return lambda: apply_rope(x.transpose(1, 2), x.transpose(1, 2)[:, :0], table)[:1], [x]


def normed(*given):
    x, table, weight = heads(*given)
    return lambda: (normed_rope(x.transpose(1, 2), weight, table, eps=1e-5),), [x, weight]


def routed(by, tokens, width, dtype, device):
    """Rows to their experts and back, without the experts."""
    x, weights = leaf(tokens, width, dtype=dtype, device=device), leaf(tokens, TOP_K, dtype=dtype, device=device)
    choices = Routed.by(torch.rand(tokens, EXPERTS, device=device).topk(TOP_K).indices, EXPERTS)
    return lambda: (SUMMED[by](GATHERED[by](x, choices), weights, choices),), [x, weights]


KERNELS = {
    "rms_norm": Kernel(rms_norm, 2, 3, ALL),
    "add_rms_norm": Kernel(added, 4, 4),
    "glu, interleaved": Kernel(gated, 3, 5, ALL),
    "rope": Kernel(turned, 2, 2),
    "normed_rope": Kernel(normed, 2, 3),
    "rows of experts": Kernel(routed, 2 * TOP_K + 2, 3 * TOP_K + 2),
}
