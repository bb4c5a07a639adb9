"""Gated activations, act(gate) * up, by the name of their implementation.

`FORMS` are functions of (gate, up, activation, plain, lies, and the clamps of `clamped_glu`): gate, up [..., I], or up
None and rows [..., 2I] of both, which lie as `lies` says; plain: the caller's formula, of gate and up.
"""

from functools import cache
from typing import NamedTuple

from nemo_automodel.components.models.common import kernels
from nemo_automodel.components.models.common.activations import ACT
from nemo_automodel.components.models.common.backend import offered
from nemo_automodel.components.models.common.functional import clamped_glu

SILU, GELU_TANH = ("sigmoid", 1.0), ("gelu_tanh", 1.0)  # names in `kernels.glu`, and the factor inside of the sigmoid


class Lies(NamedTuple):
    """How rows hold gate and up: in blocks of `block` columns of the one and as many of the other."""

    block: int
    gate_first: bool = True

    def parts(self, h):
        """Rows [..., 2I] -> gate and up [..., I]."""
        halves = [half.flatten(-2) for half in h.unflatten(-1, (-1, 2, self.block)).unbind(-2)]
        return halves if self.gate_first else halves[::-1]


def glu(by, gate, up, activation, *, plain=clamped_glu, lies=None, **clamps):
    """activation(gate) * up of a backend's form, and with the clamps of `clamped_glu`: [..., I]."""
    return FORMS[by](gate, up, activation, plain, lies, **clamps)


def by_torch(gate, up, activation, plain, lies=None, **clamps):
    gate, up = lies.parts(gate) if up is None else (gate, up)
    return plain(gate, up, activation, **clamps)


def by_triton(gate, up, activation, plain, lies=None, *, limit=None, alpha=None, up_offset=0, dtype="model"):
    """Our kernel (`kernels.glu`), fp32 inside."""
    from nemo_automodel.components.models.common.kernels import glu as kernel

    act = ("sigmoid", alpha) if alpha is not None else _kernels()[type(activation)]
    if up is None:
        return kernel.glu_of_rows(gate, act, **lies._asdict(), limit=limit, offset=up_offset)
    return kernel.glu(gate, up, act, limit=limit, offset=up_offset)


def by_liger(gate, up, activation, plain, lies=None, **clamps):
    """The kernels of the package liger-kernel, which take gate and up apart."""
    from liger_kernel.ops.geglu import LigerGELUMulFunction
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    gate, up = lies.parts(gate) if up is None else (gate, up)
    kind = LigerSiLUMulFunction if _kernels()[type(activation)] == SILU else LigerGELUMulFunction
    return kind.apply(gate.contiguous(), up.contiguous())


def why_not_triton(gate, up, activation, plain, lies=None, *, alpha=None, **clamps):
    """Why our kernel cannot take these, or None."""
    if alpha is None and type(activation) not in _kernels():
        return f"there is no kernel of {type(activation).__name__}"
    if up is not None and (gate.dtype != up.dtype or gate.shape != up.shape):
        return f"gate is {gate.dtype} {tuple(gate.shape)} and up {up.dtype} {tuple(up.shape)}"
    return kernels.why_not(gate, *([] if up is None else [up]))


def why_not_liger(gate, up, activation, plain, lies=None, **clamps):
    """Why liger-kernel cannot take these, or None."""
    if any(clamps.get(name) for name in ("limit", "alpha", "up_offset")):
        return "liger-kernel has no clamped forms"
    if _kernels().get(type(activation)) not in (SILU, GELU_TANH):
        return f"liger-kernel has no {type(activation).__name__}"
    return why_not_triton(gate, up, activation, plain, lies)


@cache
def _kernels():
    """{class of an activation's module: its name and factor}."""
    names = {
        **dict.fromkeys(("silu", "swish"), SILU),
        "quick_gelu": ("sigmoid", 1.702),
        "gelu": ("gelu", 1.0),
        **dict.fromkeys(("gelu_pytorch_tanh", "gelu_new", "gelu_fast"), GELU_TANH),
        "relu": ("relu", 1.0),
        "relu2": ("relu2", 1.0),
    }
    return {type(ACT[name]): kernel for name, kernel in names.items()}


FORMS = {
    "auto": by_torch,  # of a part that is built by itself
    "torch": by_torch,
    "triton": offered("glu", "triton", by_triton, why_not_triton, by_torch),
    "liger": offered("glu", "liger", by_liger, why_not_liger, by_torch),
}
