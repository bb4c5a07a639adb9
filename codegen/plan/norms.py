"""Which class a norm is, and how it is constructed."""

from codegen.language.attention import Norm
from codegen.language.norms import merged
from codegen.language.spec import Spec
from codegen.plan.context import Context
from codegen.plan.scope import Scope

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


def construction(
    context: Context, spec: Spec, dim: str, scope: Scope, own: Norm | None = None, heads: str | None = None
) -> str:
    """The call that builds a norm over `dim`, e.g. `RMSNorm(config.hidden_size, config.rms_norm_eps)`.

    heads: a row of the weight for each; statistics are taken over `dim` alone.
    """
    norm = merged(spec, own)
    eps = scope.code(context.value(norm, "eps"))
    weighted = context.value(norm, "weight").constant is not False
    variant = (context.word(norm, "offset"), context.word(norm, "cast"))
    shape = f"({heads}, {dim})" if heads else dim
    if context.word(norm, "kind") == "rmsnorm":
        if not weighted:
            return f"UnitRMSNorm({dim}, {eps})"
        return f"{RMS[variant]}({shape}, {eps})"
    if not weighted:
        rounds_once = context.word(norm, "cast") == "after_weight"
        return (
            f"UnitLayerNorm({dim}, {eps})" if rounds_once else f"nn.LayerNorm({dim}, {eps}, elementwise_affine=False)"
        )
    if heads:  # torch's kernel would take them over all heads
        variant = (variant[0], "after_weight")
    if variant in LAYER:
        return f"{LAYER[variant]}({shape}, {eps}{_bias(norm, scope, default=False, has=True)})"
    return f"nn.LayerNorm({dim}, {eps}{_bias(norm, scope, default=True, has=True)})"


def _bias(norm: Norm, scope: Scope, default: bool, has: bool = False) -> str:
    """The `bias` argument, where it is not what the class does by itself; `has`: what the language says by itself."""
    written = has if norm.bias is None else norm.bias.constant
    if written is ... and norm.bias is not None:
        return f", bias={scope.code(norm.bias)}"
    return "" if written == default else f", bias={written}"
