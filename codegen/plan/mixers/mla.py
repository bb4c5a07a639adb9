"""Plans multi-head latent attention (DeepSeek-V2): latents, their norms, and heads with a part that turns."""

from dataclasses import replace

from codegen.language.attention import Mla, Norm
from codegen.language.spec import Spec
from codegen.language.values import Expression, expression
from codegen.plan.context import Context
from codegen.plan.mixers import gates, softmax
from codegen.plan.mixers.projections import flag
from codegen.plan.names import attribute, disk_name
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, Scope
from codegen.plan.types import Code, LatentPlan

ROLES = ("q", "q_a", "q_b", "kv_a", "kv_b", "out")
NORMS = ("q_a_norm", "kv_a_norm")
UNBIASED = ("q", "q_b", "kv_b")
FALSE, LATENT_EPS = expression("False"), expression("1e-6")


def mla(spec: Spec) -> Mla:
    assert isinstance(spec.attention, Mla)
    return spec.attention


def signature(spec: Spec) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    names = tuple(disk_name(spec, role, "attention") for role in (*ROLES, *NORMS, *gates.ROLES))
    return names, softmax.signature(spec), gates.signature(spec)


def plan_latent(context: Context, class_name: str, part: str = "attention") -> LatentPlan:
    """The class for those combinations that share a signature."""

    def size(name: str) -> Code:
        return context.code(lambda s: context.value(mla(s), name), ATTENTION)

    return LatentPlan(
        class_name=class_name,
        doc="Causal multi-head latent attention",
        heads=size("heads"),
        nope=size("nope"),
        rope=size("rope"),
        v=size("v"),
        q_rank=size("q_rank"),
        kv_rank=size("kv_rank"),
        attributes=softmax.attributes(context, head_dim_code(context), scale_code),
        names={role: attribute(context.base, role, part) for role in (*ROLES, *NORMS)},
        biases={role: context.code(lambda s, role=role: bias(context, s, role, part), ATTENTION) for role in ROLES},
        norms={
            role: _norm(context, width) for role, width in (("q_a_norm", "self.q_rank"), ("kv_a_norm", "self.kv_rank"))
        },
        rotation=softmax.rotation(context),
        multiply=softmax.multiply(context),
        gate=gates.plan_gate(context, part, "heads", "heads * self.v"),
    )


def bias(context: Context, spec: Spec, role: str, part: str) -> Expression:
    """Whether a projection has a bias: those up from a latent never, unless the spec says so."""
    written = mla(spec).bias or {}
    return FALSE if role in UNBIASED and role not in written else flag(context, spec, part, role)


def head_dim_code(context: Context) -> Code:
    """The width of queries and keys: the part that turns, and the one that does not."""
    nope, rope = (context.code(lambda s, n=n: context.value(mla(s), n), ATTENTION) for n in ("nope", "rope"))
    return f"({nope}) + ({rope})"


def scale_code(spec: Spec, head_dim: Code, scope: Scope) -> Code:
    """The factor on the scores; a YaRN table owes its own factor squared (DeepSeek-V3's reference code)."""
    written = mla(spec).scale
    if written:
        return scope.code(written, head_dim=f"({head_dim})")
    plain = f"({head_dim}) ** -0.5"
    return plain if spec.rope is None else f"{plain} * yarn_mscale({scope.config}.rope_parameters) ** 2"


def _norm(context: Context, width: Code) -> Code:
    def build(spec: Spec) -> str:
        own = mla(spec).latent_norm or Norm()
        return construction(context, spec, width, ATTENTION, own if own.eps else replace(own, eps=LATENT_EPS))

    return context.code(build, ATTENTION, lazy=True)
