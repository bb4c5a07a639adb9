"""Multi-head latent attention (DeepSeek-V2): latents, their norms, and heads with a part that turns."""

from collections.abc import Iterator
from dataclasses import replace

from codegen.language.attention import Mla, Norm
from codegen.language.keys import Section
from codegen.language.spec import Spec
from codegen.language.values import Expression, expression
from codegen.plan.context import Context
from codegen.plan.mixers import gates, softmax
from codegen.plan.mixers.asked import Misfits, Numbers, Tensors, TinySizes
from codegen.plan.mixers.projections import flag, role_renames, section_of, turned_rules
from codegen.plan.names import attribute, disk_name
from codegen.plan.norms import construction
from codegen.plan.scope import ATTENTION, CONFIG, Scope
from codegen.plan.types import Assign, ClassPlan, Code, MixerPlan, unless_true

PROJECTIONS = ("q", "q_a", "q_b", "kv_a", "kv_b", "out")
NORMS = ("q_a_norm", "kv_a_norm")
SIZES = ("heads", "nope", "rope", "v", "q_rank", "kv_rank")
# No two sizes are equal or multiples by accident.
TINY = {"q_rank": 22, "kv_rank": 18, "nope": 12, "rope": 4, "v": 14}
UNBIASED = ("q", "q_b", "kv_b")
FALSE, LATENT_EPS = expression("False"), expression("1e-6")


def mla(spec: Spec, part: str) -> Mla:
    section = section_of(spec, part)
    assert isinstance(section, Mla)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes."""
    names = tuple(disk_name(spec, role, part) for role in (*PROJECTIONS, *NORMS, *gates.ROLES))
    return names, softmax.signature(spec, part), gates.signature(spec, part)


def plan(context: Context, class_name: str, part: str) -> MixerPlan:
    """The class for those combinations that share a signature."""
    rotation, gate = softmax.rotation(context), gates.describe(context, part, "heads", "heads * self.v")
    own, ranks = mla(context.base, part), {"q_a_norm": "self.q_rank", "kv_a_norm": "self.kv_rank"}
    made = ClassPlan(
        template="mla",
        definition="TemplateLatentAttention",
        name=class_name,
        docs={"attention": "Causal multi-head latent attention"},
        when=softmax.turning(rotation) | gates.choices(gate),
        codes={
            **{name: size_code(context, part, name, ATTENTION) for name in SIZES},
            **{f"{role}_bias": unless_true(_bias_code(context, part, role)) for role in PROJECTIONS},
            **{role: _norm(context, part, rank) for role, rank in ranks.items()},
            **gates.codes(gate),
            **softmax.turned(rotation),
        },
        attributes=softmax.attributes(context, part, _head_dim(context, part), scale_code),
        statements={"multiply": softmax.multiply(context, part)},
        roles={role: attribute(context.base, role, part) for role in (*PROJECTIONS, *NORMS)}
        | gates.names_in_memory(gate),
        whys={"kv_a_norm": own.latent_norm and own.latent_norm.why, **gates.whys(own.gate, gate)},
    )
    features = ("multi-head latent attention", *softmax.features(rotation))
    return MixerPlan(f"{class_name}(config, layer_idx, backend)", made, features)


def size_code(context: Context, part: str, name: str, scope: Scope) -> Code:
    """A number of the section as code."""
    return context.code(lambda s: context.value(mla(s, part), name), scope)


def bias(context: Context, spec: Spec, role: str, part: str) -> Expression:
    """Whether a projection has a bias: those up from a latent never, unless the spec says so."""
    written = mla(spec, part).bias or {}
    return FALSE if role in UNBIASED and role not in written else flag(context, spec, part, role)


def _bias_code(context: Context, part: str, role: str) -> Code:
    return context.code(lambda s: bias(context, s, role, part), ATTENTION)


def _head_dim(context: Context, part: str) -> Code:
    """The width of queries and keys: the part that turns, and the one that does not."""
    nope, rope = (size_code(context, part, name, ATTENTION) for name in ("nope", "rope"))
    return f"({nope}) + ({rope})"


def scale_code(spec: Spec, part: str, head_dim: Code, scope: Scope) -> Code:
    """The factor on the scores; a YaRN table owes its own factor squared (DeepSeek-V3's reference code)."""
    written = mla(spec, part).scale
    if written:
        return scope.code(written, head_dim=f"({head_dim})")
    plain = f"({head_dim}) ** -0.5"
    return plain if spec.rope is None else f"{plain} * yarn_mscale({scope.config}.rope_parameters) ** 2"


def _norm(context: Context, part: str, width: Code) -> Code:
    def build(spec: Spec) -> str:
        own = mla(spec, part).latent_norm or Norm()
        return construction(context, spec, width, ATTENTION, own if own.eps else replace(own, eps=LATENT_EPS))

    return context.code(build, ATTENTION, lazy=True)


def renames(spec: Spec, part: str) -> list[tuple[str, str]]:
    """Paths within the layer, on disk and in memory."""
    return role_renames(spec, part, mla(spec, part).roles())


def rules(context: Context, part: str) -> list[Code]:
    """Rules of the weights that lie otherwise on disk."""
    return turned_rules(context, part, ("out_gate", *PROJECTIONS))


def flags(context: Context, part: str) -> Iterator[Assign]:
    """What the model's classes say of its attention."""
    yield from softmax.flags(context, part)
    yield Assign("_supports_flash_attn", "False", softmax.NARROW_VALUES)


def call(path: Code, arguments: Code) -> Code:
    """How a layer calls it."""
    return softmax.call(path, arguments)


def turning(context: Context, spec: Spec, part: str) -> tuple[Code, Code | None]:
    """The width of a head as a rotary table sees it, and how much of it turns: its part for that."""
    turned = size_code(context, part, "rope", CONFIG)
    return turned, turned


def alibi(context: Context, spec: Spec, part: str) -> Code | None:
    """It has no position biases."""
    return None


def sizes(section: Section) -> TinySizes:
    """Its ranks and widths."""
    return TinySizes(((section, TINY),), turned=TINY["rope"])


def misfits(numbers: Numbers, spec: Spec, part: str) -> Misfits:
    """All of its sizes fit."""
    return iter(())


def tensors(tensors: Tensors, section: Section, part: str, before: str) -> Iterator[str]:
    """Names of its tensors in a checkpoint, behind `before`."""
    assert isinstance(section, Mla)
    low = tensors.said(section, "q_rank") is not None
    for role in ("q_a", "q_b", "kv_a", "kv_b", "out") if low else ("q", "kv_a", "kv_b", "out"):
        yield f"{tensors.at(before, role, part)}.weight"
        if role in ("q_a", "kv_a", "out") and tensors.flag(part, role):
            yield f"{tensors.at(before, role, part)}.bias"
    yield from gates.tensors(tensors, section.gate, part, before)
    for role in NORMS if low else NORMS[1:]:
        yield f"{tensors.at(before, role, part)}.weight"
