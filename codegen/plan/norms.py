"""Which class a norm is, and how it is constructed."""

from codegen.plan.context import Context
from codegen.plan.scope import Scope
from codegen.spec.attention import Norm
from codegen.spec.keys import keys
from codegen.spec.language import Spec

RMS = {
    (0, "before_weight"): "RMSNorm",
    (0, "after_weight"): "Float32RMSNorm",
    (1, "before_weight"): "OffsetRMSNorm",
    (1, "after_weight"): "OffsetFloat32RMSNorm",
}
LAYER = {
    (0, "after_weight"): "Float32LayerNorm",
    (1, "before_weight"): "OffsetLayerNorm",
    (1, "after_weight"): "OffsetFloat32LayerNorm",
}


def merged(spec: Spec, own: Norm | None) -> Norm:
    """A norm's own keys over the section that every norm inherits."""
    values = {name: getattr(spec.norm, name) for name in keys(Norm)}
    if own is not None:
        values |= {name: getattr(own, name) for name in keys(Norm) if getattr(own, name) is not None}
    return Norm(**values)


def construction(context: Context, spec: Spec, dim: str, scope: Scope, own: Norm | None = None) -> str:
    """The call that builds a norm over `dim`, e.g. `RMSNorm(config.hidden_size, config.rms_norm_eps)`."""
    norm = merged(spec, own)
    eps = scope.code(context.value(norm, "eps"))
    weighted = context.value(norm, "weight").constant is not False
    variant = (context.word(norm, "offset"), context.word(norm, "cast"))
    if context.word(norm, "kind") == "rmsnorm":
        if not weighted:
            return f"UnitRMSNorm({dim}, {eps})"
        return f"{RMS[variant]}({dim}, {eps}{_bias(norm, scope, default=False)})"
    if not weighted:
        return f"nn.LayerNorm({dim}, {eps}, elementwise_affine=False)"
    if variant in LAYER:
        return f"{LAYER[variant]}({dim}, {eps}{_bias(norm, scope, default=False, has=True)})"
    return f"nn.LayerNorm({dim}, {eps}{_bias(norm, scope, default=True, has=True)})"


def _bias(norm: Norm, scope: Scope, default: bool, has: bool = False) -> str:
    """The `bias` argument, where it is not what the class does by itself; `has`: what the language says by itself."""
    written = has if norm.bias is None else norm.bias.constant
    if written is ... and norm.bias is not None:
        return f", bias={scope.code(norm.bias)}"
    return "" if written == default else f", bias={written}"
