"""What every softmax attention has: the numbers that `attend` reads, the rotation, factors before the scores."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from codegen.language.attention import Softmax
from codegen.language.keys import keys
from codegen.language.spec import Spec
from codegen.language.values import Expression
from codegen.plan.context import Context
from codegen.plan.mixers.projections import section_of
from codegen.plan.names import disk_name, stays_float32
from codegen.plan.scope import ATTENTION, Scope
from codegen.plan.types import Assign, Code

NARROW_VALUES = "flash kernels want values as wide as keys"
OPTIONAL = ("softcap", "window", "chunk", "clip")


class Rotation(NamedTuple):
    """How q and k are rotated; `some_layers` asks `self.rotary` first."""

    some_layers: bool
    rotate: Code | None
    dtype: Code | None
    sign: Code | None


def softmax(spec: Spec, part: str = "attention") -> Softmax:
    section = section_of(spec, part)
    assert isinstance(section, Softmax)
    return section


def signature(spec: Spec, part: str) -> tuple[object, ...]:
    """What makes two layers need two classes, whichever softmax attention they have."""
    own = softmax(spec, part)
    factors = tuple(sorted((role, _in_forward(one)) for role, one in (own.multipliers or {}).items()))
    dtypes = own.multipliers_dtype, own.scores_dtype, own.softmax_dtype, own.sinks_dtype
    return factors, dtypes


def _in_forward(factor: Expression) -> str:
    """A factor that follows the position stands in the method; others are attributes."""
    return factor.text if factor.mentions("position") else ""


def attributes(
    context: Context, part: str, head_dim: Code, scale: Callable[[Spec, str, Code, Scope], Code]
) -> tuple[Assign, ...]:
    """What `attend` reads from the module, where it is not the library's default."""
    spec = context.base
    own = softmax(spec, part)
    found = [Assign("scale", context.code(lambda s: scale(s, part, head_dim, ATTENTION), ATTENTION), own.why)]
    known = keys(type(own))
    found += [one for name in OPTIONAL if name in known and (one := _optional(context, part, name))]
    dropout = context.code(lambda s: context.value(s.dropout, "attention"), ATTENTION)
    if dropout != "0.0":
        found.append(Assign("dropout", dropout, spec.dropout.why))
    if len(context.answers(lambda s: s.rope is None)) > 1:
        rotates = context.code(lambda s: s.rope is not None, ATTENTION)
        found.append(Assign("rotary", rotates, context.why(lambda s: s.rope is not None)))
    for role, expression in (own.multipliers or {}).items():
        if not expression.mentions("position"):
            code = context.code(lambda s, role=role: (softmax(s, part).multipliers or {})[role], ATTENTION)
            found.append(Assign(f"{role}_multiplier", code))
    if own.scores_dtype == "float32":
        found.append(Assign("scores_dtype", "torch.float32"))
    if own.scores_dtype == "once":
        found.append(Assign("scaled_at_once", "True"))
    if own.sinks_dtype == "float32":
        found.append(Assign("sinks_are_factors", "True"))
    if own.sinks is not None and stays_float32(spec, part, disk_name(spec, "sinks", part)):
        found.append(Assign("sinks_pinned", "True"))
    if own.softmax_dtype == "model":
        found.append(Assign("softmax_dtype", "None"))
    rotate = rotate_code(context)
    if rotate is not None and not rotate.isidentifier():
        found.append(Assign("rotate", rotate))
    return tuple(found)


def _optional(context: Context, part: str, name: str) -> Assign | None:
    """A number that may be absent; None where it always is."""

    def question(spec: Spec) -> Expression:
        return context.value(softmax(spec, part), name)

    code = context.code(question, ATTENTION)
    return None if code == "None" else Assign(name, code, context.why(question))


def scale_code(spec: Spec, part: str, head_dim: Code, scope: Scope) -> Code:
    """The factor on the scores."""
    written = softmax(spec, part).scale
    return scope.code(written, head_dim=head_dim) if written else f"({head_dim}) ** -0.5"


def rotate_code(context: Context) -> Code | None:
    """The library's function for the layout, or a choice of it; None where nothing turns."""
    if context.answers(lambda s: s.rope is not None) == [False]:
        return None
    turning = context.where(lambda s: s.rope is not None, True)
    return turning.code(lambda s: _layout_function(context, s), ATTENTION)


def _layout_function(context: Context, spec: Spec) -> str:
    assert spec.rope is not None
    return "rotate_pairs" if context.word(spec.rope, "layout") == "interleaved" else "rotate_halves"


def rotation(context: Context) -> Rotation | None:
    """How queries and keys turn."""
    rotate = rotate_code(context)
    if rotate is None:
        return None
    turning = context.where(lambda s: s.rope is not None, True)
    wide = turning.only(_is_wide, "rope.apply_dtype", "it")
    backwards = turning.only(lambda s: s.rope is not None and s.rope.sign == -1, "rope.sign", "it")
    return Rotation(
        some_layers=len(context.answers(lambda s: s.rope is not None)) > 1,
        rotate=None if rotate == "rotate_halves" else rotate if rotate.isidentifier() else "self.rotate",
        dtype="torch.float32" if wide else None,
        sign="-1" if backwards else None,
    )


def _is_wide(spec: Spec) -> bool:
    """Whether the rotation is done in fp32 although its table is not."""
    assert spec.rope is not None
    return spec.rope.apply_dtype == "float32" and spec.rope.table_dtype != "float32"


def multiply(context: Context, part: str) -> tuple[Code, ...]:
    """Statements on q, k, v just before the scores."""
    found: list[Code] = []
    own = softmax(context.base, part)
    for role, expression in (own.multipliers or {}).items():
        if expression.mentions("position"):
            in_forward = Scope(config="self.config", names={"layer": "self.layer_idx"})
            code = in_forward.code(expression, position="position", log="torch.log", floor="torch.floor")
            found.append('position = kwargs["position_ids"][:, None, :, None].float()')
            product = f"{role} * ({code})"
            rounded_first = own.multipliers_dtype == "model"
            found.append(f"{role} = {product if rounded_first else f'({product})'}.to({role}.dtype)")
        else:
            found.append(f"{role} = {role} * self.{role}_multiplier")
    return tuple(dict.fromkeys(found))


def turning(rotation: Rotation | None) -> dict[str, bool]:
    """The choices of a template about rotation."""
    return {"rope": rotation is not None, "rope_in_some_layers": rotation is not None and rotation.some_layers}


def turned(rotation: Rotation | None) -> dict[str, Code | None]:
    """The expressions of a template about rotation."""
    return {name: getattr(rotation, name, None) for name in ("rotate", "dtype", "sign")}


def features(rotation: Rotation | None) -> tuple[str, ...]:
    """What the documentation says of the rotation."""
    if rotation is None:
        return ()
    words = {"rotate_pairs": "interleaved RoPE", None: "RoPE"}.get(rotation.rotate, "RoPE, layout by config")
    return (words, "layers without positions") if rotation.some_layers else (words,)


def flags(context: Context, part: str) -> Iterator[Assign]:
    """Attention functions of transformers that cannot compute such scores."""
    own = [softmax(spec, part) for spec in context.flat.values()]
    if any(one.softcap is not None or one.sinks is not None for one in own):
        yield Assign("_supports_sdpa", "False", "sdpa knows neither soft caps nor sinks")
    if any(one.alibi is not None for one in own):
        for name in ("_supports_flash_attn", "_supports_flex_attn"):
            yield Assign(name, "False", "these kernels are given no position biases")


def call(path: Code, arguments: Code) -> Code:
    """How a layer calls attention, which returns its weights too."""
    return f"{path}({arguments}, **context)[0]"
