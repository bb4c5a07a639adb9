"""Rotary positions (RoFormer, arXiv 2104.09864): the table of angles, and the layouts in which it turns q and k.

Tables hold no buffer: frequencies follow from numbers in the config, so nothing can be lost on `meta`,
rounded by `model.to(bfloat16)` or left stale by a longer batch.
"""

import torch
from torch import nn

from nemo_automodel.components.models.common import kernels, simd
from nemo_automodel.components.models.common.backend import offered
from nemo_automodel.components.models.common.rms_norm import rms_norm, why_no_kernel
from nemo_automodel.components.models.common.rope_scaling import scaling, turning_width


class RotaryTable(nn.Module):
    """Positions [B, S] -> cosines and sines [B, S, R/2] each, for R = 2 * ceil(width / 2) rotated dimensions.

    `parameters` is `config.rope_parameters` (or one layer type's), or a number: the base of an unscaled table.
    `width` is `int(head_dim * partial_rotary_factor)` unless given, or `head_dim` where the type is proportional. The
    table has x's dtype unless `dtype` pins it.
    Raises ValueError for an unknown `rope_type`.
    """

    _keys_to_ignore_on_load_unexpected = [r"rotary_emb\.inv_freq"]  # stood in checkpoints before transformers 4.32

    def __init__(self, parameters, head_dim, max_positions=None, *, width=None, dtype=None):
        super().__init__()
        parameters = dict(parameters) if hasattr(parameters, "keys") else {"rope_theta": parameters}
        self.width = turning_width(parameters, head_dim) if width is None else width
        self.dtype = dtype
        self.scaling = scaling(parameters, self.width, max_positions)
        self.made_of = parameters, self.width, max_positions, dtype
        self.by = "torch"  # a name of `FORMS`, decided by the backend

    def bind(self, backend):
        self.by = backend.rope

    @torch.no_grad()
    def forward(self, x, positions):
        exponent = torch.arange(0, self.width, 2, device=x.device).float() / self.width
        inverse, factor = self.scaling(exponent, positions)
        with torch.autocast(x.device.type, enabled=False):
            angles = positions[..., None].float() * inverse
            dtype = self.dtype or x.dtype
            table = (angles.cos() * factor).to(dtype), (angles.sin() * factor).to(dtype)
        if torch.compiler.is_compiling():
            return tuple(map(_stored, table))
        return self.told(table)

    def told(self, table):
        """The table, which tells `apply_rope` the backend: it is given no more than that."""
        if self.by != "torch" and not torch.compiler.is_compiling():
            table[0].by = self.by
        return table


def tables_by_layer(tables):
    """{number of a layer: its table} of the tables of all layers, in which alike ones are one; None: nothing turns."""
    found = nn.ModuleDict()
    for layer, table in enumerate(tables):
        if table is not None:
            found[str(layer)] = next((one for one in found.values() if one.made_of == table.made_of), table)
    return found


@torch.library.custom_op("nemo_automodel::stored", mutates_args=())
def _stored(x: torch.Tensor) -> torch.Tensor:
    """A copy that a compiler does not see through: it would compute powers and cosines anew in every layer."""
    return x.clone()


@_stored.register_fake
def _(x):
    return torch.empty_like(x)


def rotate_halves(x, cos, sin):
    """Rotates x [B, S, N, R] in pairs (i, i + R/2)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def rotate_pairs(x, cos, sin):
    """Rotates x [B, S, N, R] in pairs (2i, 2i + 1)."""
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)


def apply_rope(q, k, rope, rotate=rotate_halves, *, dtype=None, sign=1):
    """q [B, N, S, D] and k [B, K, S, D] with their first R dimensions turned by the table's angles.

    `rotate` is the layout, `dtype` the precision of the rotation (None: that of q and the table together; the result
    has q's), `sign` -1 turns the other way. Results lie in memory as [B, S, N, D]: attention's output does then too,
    which the projection after it reads without a copy. The backend is that of the model that made the table.
    """
    return FORMS[_form(rope)](q, k, rope, rotate, dtype=dtype, sign=sign)


def normed_rope(x, weight, rope, *, eps, rounds_first=True, rotate=rotate_halves):
    """Queries or keys x [B, N, S, D], normalised by RMSNorm with a weight [D] and turned; one node where a kernel takes
    them."""
    return NORMED[_form(rope)](x, weight, rope, eps, rounds_first, rotate)


def _form(rope):
    """What `RotaryTable.told` left with the table; a compiler does not see it."""
    return "torch" if torch.compiler.is_compiling() else getattr(rope[0], "by", "torch")


def by_torch(q, k, rope, rotate, *, dtype, sign):
    cos, sin = (t.unsqueeze(2) for t in rope)
    sin = sin if sign == 1 else -sin
    return _turn(q, cos, sin, rotate, dtype), _turn(k, cos, sin, rotate, dtype)


def _turn(x, cos, sin, rotate, dtype):
    if rotate is rotate_halves and dtype in (None, x.dtype) and _in_one_pass(x, cos, sin):
        turn = _Turned.apply if x.requires_grad and torch.is_grad_enabled() else simd.rope
        return turn(x, cos, sin)
    x, width = x.transpose(1, 2), 2 * cos.shape[-1]
    turned = rotate(x[..., :width].to(dtype or x.dtype), cos, sin).to(x.dtype)
    turned = turned if width == x.shape[-1] else torch.cat((turned, x[..., width:]), dim=-1)
    return turned.transpose(1, 2)


def _in_one_pass(x, cos, sin):
    """Whether `simd.rope` turns x [B, N, S, D]."""
    if not simd.reads(x, cos, sin) or not x.numel() or cos.shape != sin.shape or cos.requires_grad:
        return False
    length = x.shape[2]
    fits = cos.shape[:-1] in ((1, length, 1), (len(x), length, 1)) and 2 * cos.shape[-1] <= x.shape[-1]
    return fits and x.stride(-1) == 1 and cos.is_contiguous() and sin.is_contiguous()


class _Turned(torch.autograd.Function):
    """Bit for bit what PyTorch makes of the formula, forward and backward: a gradient is turned the other way."""

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        return simd.rope(x, cos, sin)

    @staticmethod
    def backward(ctx, grad):
        cos, sin = ctx.saved_tensors
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        return _Turned.apply(grad, cos, -sin), None, None


def by_triton(q, k, rope, rotate, *, dtype, sign):
    """Our kernel (`kernels.rope`), fp32 inside, whatever the dtype."""
    from nemo_automodel.components.models.common.kernels.rope import Turn, turned

    turn = Turn(rotate is rotate_pairs, sign)
    return turned(q, *rope, turn), turned(k, *rope, turn)


def why_not_triton(q, k, rope, rotate, *, dtype, sign):
    """Why our kernel cannot take these, or None."""
    if rotate not in (rotate_halves, rotate_pairs):
        return f"there is no kernel of {rotate.__name__}"
    if any(table.dim() != 3 for table in rope):
        return f"the table has shape {tuple(rope[0].shape)}, and the kernel takes [B, S, R/2]"
    return kernels.why_not(q, k, *rope)


def _normed(x, weight, rope, eps, rounds_first, rotate):
    cos, sin = (t.unsqueeze(2) for t in rope)
    return _turn(rms_norm(x, weight, eps, rounds_first=rounds_first), cos, sin, rotate, None)


def _normed_by_triton(x, weight, rope, eps, rounds_first, rotate):
    from nemo_automodel.components.models.common.kernels.rope import Turn, turned

    return turned(x, *rope, Turn(rotate is rotate_pairs, 1, eps, rounds_first), weight)


def _why_not_normed(x, weight, rope, eps, rounds_first, rotate):
    return why_no_kernel(x, weight, eps, rounds_first=rounds_first) or why_not_triton(
        x, x, rope, rotate, dtype=None, sign=1
    )


NORMED = {
    "torch": _normed,
    "triton": offered("rope", "triton", _normed_by_triton, _why_not_normed, _normed),
}
FORMS = {
    "torch": by_torch,
    "triton": offered("rope", "triton", by_triton, why_not_triton, by_torch),
}


def get_rope_config(config, layer_type=None):
    """(theta, parameters, partial_rotary_factor) of a config in either form.

    transformers 5 keeps all in `rope_parameters`; older configs have `rope_theta`, `rope_scaling` and
    `partial_rotary_factor` (or GPT-NeoX's `rotary_pct`). Raises ValueError where parameters are given per layer type
    and `layer_type` does not name one.
    """
    parameters = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if parameters and all(isinstance(value, dict) for value in parameters.values()):
        if layer_type not in parameters:
            raise ValueError(f"rope_parameters are per layer type: name one of {', '.join(parameters)}")
        parameters = parameters[layer_type]
    theta = parameters.get("rope_theta", getattr(config, "rope_theta", 10000.0))
    partial = parameters.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None))
    if partial is None:
        partial = getattr(config, "rotary_pct", 1.0)
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    return theta, {**parameters, "rope_type": kind, "rope_theta": theta}, partial
